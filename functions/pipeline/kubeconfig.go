package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"sync"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/reroot-dev/reroot/functions/cluster"
)

// maxKubeconfig bounds a kubeconfig file, in bytes.
const maxKubeconfig = 1 << 20

// Connect makes a client that reads its kubeconfig again whenever the file changes. A process that serves a node from
// within starts in a new root before the cluster's cryptography is regenerated: what the file says at that time, if
// there is one at all, is the seed's.
func Connect(kubeconfig string) (*cluster.Client, error) {
	return cluster.Connect(&rest.Config{Host: "https://kubeconfig.invalid", Transport: &following{file: kubeconfig}})
}

// following sends requests to whatever server its file names, with the file's credentials.
type following struct {
	file string

	mu        sync.Mutex
	text      []byte // of the file, that the rest is made of
	server    *url.URL
	transport http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (f *following) RoundTrip(req *http.Request) (*http.Response, error) {
	server, transport, err := f.current()
	if err != nil {
		if req.Body != nil {
			err = errors.Join(err, req.Body.Close())
		}
		return nil, err
	}
	out := req.Clone(req.Context())
	out.URL.Scheme, out.URL.Host, out.Host = server.Scheme, server.Host, ""
	out.URL.Path = path.Join("/", server.Path, req.URL.Path)
	return transport.RoundTrip(out)
}

func (f *following) current() (*url.URL, http.RoundTripper, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	text, err := read(f.file)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read kubeconfig: %w", err)
	}
	if f.transport != nil && bytes.Equal(text, f.text) {
		return f.server, f.transport, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", f.file)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read kubeconfig %s: %w", f.file, err)
	}
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use kubeconfig %s: %w", f.file, err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use kubeconfig %s: %w", f.file, err)
	}
	f.text, f.server, f.transport = text, server, transport
	return server, transport, nil
}

func read(file string) ([]byte, error) {
	r, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxKubeconfig+1))
	if err == nil && len(text) > maxKubeconfig {
		err = fmt.Errorf("%s has more than %d bytes", file, maxKubeconfig)
	}
	return text, err
}
