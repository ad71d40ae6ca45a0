package world

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// bucket is Velero's, in the lab's S3.
const bucket = "velero"

// startRegistry serves an OCI registry from this process, with its blobs in dir; it returns host:port.
func startRegistry(dir string) (string, func(), error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, fmt.Errorf("cannot start the registry: %w", err)
	}
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(dir))))
	return s.Listener.Addr().String(), s.Close, nil
}

// startS3 runs the S3 server with its one file in dir; it returns its URL.
func startS3(ctx context.Context, program, dir string) (url string, stop func(), err error) {
	port, err := freePorts(1)
	if err != nil {
		return "", nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port[0])
	cmd := exec.Command(program, "-addr", addr, "-file", filepath.Join(dir, "s3.db"), "-bucket", bucket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("cannot start S3: %w", err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	stop = func() { _ = cmd.Process.Signal(syscall.SIGTERM); <-ended }
	url = "http://" + addr
	if err := answers(ctx, url, ended); err != nil {
		stop()
		return "", nil, fmt.Errorf("cannot start S3: %w", err)
	}
	return url, stop, nil
}

// answers waits until something speaks HTTP at the URL.
func answers(ctx context.Context, url string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return poll(ctx, ended, func() error {
		req, err := newRequest(ctx, url)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
}

// pushImages puts container images with random content into the registry: what a seed's containers.list names. Each
// is called by a tag, as some images of a real list are.
func pushImages(host string, n int) ([]string, error) {
	var images []string
	for i := range n {
		spec := fmt.Sprintf("%s/okd/component-%d:4.18", host, i)
		ref, err := name.ParseReference(spec, name.Insecure)
		if err != nil {
			return nil, err
		}
		img, err := random.Image(64<<10, 2)
		if err != nil {
			return nil, err
		}
		if err := remote.Write(ref, img); err != nil {
			return nil, fmt.Errorf("cannot push %s: %w", spec, err)
		}
		images = append(images, spec)
	}
	return images, nil
}

// freePorts finds n TCP ports of 127.0.0.1 that nobody listens on, all different.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("cannot find a free port: %w", err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

func newRequest(ctx context.Context, url string) (*http.Request, error) {
	return http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
}

// poll calls try until it succeeds, ctx ends, or ended is closed; the error is try's last.
func poll(ctx context.Context, ended <-chan struct{}, try func() error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not in time: %w", err)
		case <-ended:
			return fmt.Errorf("what was waited for has ended: %w", err)
		case <-tick.C:
		}
	}
}
