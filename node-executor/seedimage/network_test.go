package seedimage_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/seed"
	access "github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/node-executor/host/hosttest"
	"github.com/reroot-dev/reroot/node-executor/seedimage"
)

// through serves a registry behind a proxy that changes the bodies of blobs, and returns the proxy's HOST:PORT.
func through(t testing.TB, registryHost string, change func(*http.Response) error) string {
	t.Helper()
	var size atomic.Int64 // of the layer
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registryHost})
	proxy.ModifyResponse = func(resp *http.Response) error {
		if resp.Request.Method == http.MethodGet && strings.Contains(resp.Request.URL.Path, "/blobs/") && resp.ContentLength > 20_000 {
			if resp.StatusCode == http.StatusOK {
				size.Store(resp.ContentLength)
			}
			return change(resp)
		}
		return nil
	}
	// The test registry only takes a Range with an end, which clients seldom know.
	direct := proxy.Director
	proxy.Director = func(r *http.Request) {
		direct(r)
		if from, ok := strings.CutSuffix(r.Header.Get("Range"), "-"); ok {
			r.Header.Set("Range", fmt.Sprintf("%s-%d", from, size.Load()-1))
		}
	}
	proxy.ErrorLog = discard()
	server := httptest.NewUnstartedServer(proxy)
	server.Config.ErrorLog = discard()
	server.Start()
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

type body struct {
	io.Reader
	io.Closer
}

// bigSeed pushes a seed with a few megabytes that do not compress.
func bigSeed(t testing.TB, reg string) string {
	t.Helper()
	f := takeApart(t, reg, create(t, reg))
	f.files["lca-cli"] = make([]byte, 12<<20) // a file that an import skips
	if _, err := rand.Read(f.files["lca-cli"]); err != nil {
		t.Fatal(err)
	}
	return f.push(t, reg)
}

func TestImportOverDroppingConnections(t *testing.T) {
	reg := startRegistry(t)
	image := bigSeed(t, reg)
	var drops atomic.Int32
	proxy := through(t, reg, func(resp *http.Response) error {
		if drops.Load() < 3 {
			drops.Add(1)
			resp.Body = body{io.LimitReader(resp.Body, 3<<20), resp.Body}
		}
		return nil
	})
	n := newTarget(t, strings.Replace(image, reg, proxy, 1))
	r, err := seedimage.Import(t.Context(), n.o)
	if err != nil {
		t.Fatal(err)
	}
	n.complete(t, r)
	if drops.Load() != 3 {
		t.Errorf("%d drops, want 3", drops.Load())
	}
}

func TestImportFromBrokenRegistry(t *testing.T) {
	reg := startRegistry(t)
	image := bigSeed(t, reg)
	flip := func(at int64) func(*http.Response) error {
		return func(resp *http.Response) error {
			resp.Body = body{io.MultiReader(io.LimitReader(resp.Body, at), &flipFirst{r: resp.Body}), resp.Body}
			return nil
		}
	}
	for name, tc := range map[string]struct {
		change func(*http.Response) error
		reason events.Reason
	}{
		"drops all the time": {func(resp *http.Response) error {
			resp.Body = body{io.LimitReader(resp.Body, 100_000), resp.Body}
			return nil
		}, events.ReasonSeedUnreachable},
		"changes the first byte":       {flip(0), events.ReasonSeedCorrupt},
		"changes an early byte":        {flip(3000), events.ReasonSeedCorrupt},
		"changes a byte in the middle": {flip(6 << 20), events.ReasonSeedCorrupt},
		"serves another blob": {func(resp *http.Response) error {
			resp.Body = body{io.LimitReader(rand.Reader, resp.ContentLength), resp.Body}
			return nil
		}, events.ReasonSeedCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			n := newTarget(t, strings.Replace(image, reg, through(t, reg, tc.change), 1))
			_, err := seedimage.Import(t.Context(), n.o)
			wantReason(t, err, tc.reason)
			n.untouched(t)
		})
	}
}

// flipFirst changes the first byte that it reads.
type flipFirst struct {
	r    io.Reader
	done bool
}

func (f *flipFirst) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if n > 0 && !f.done {
		p[0], f.done = p[0]^1, true
	}
	return n, err
}

// withPassword is a registry that wants user "node" with password "pass".
func withPassword(t testing.TB) string {
	t.Helper()
	inner := registry.New(registry.Logger(discard()))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, ok := r.BasicAuth(); !ok || user != "node" || pass != "pass" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func authFile(t testing.TB, registryHost, user, pass string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + pass))
	text := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, registryHost, auth)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInspectRefusals(t *testing.T) {
	open, closed := startRegistry(t), withPassword(t)
	empty := filepath.Join(t.TempDir(), "empty.json")
	if err := os.WriteFile(empty, []byte(`{"auths":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, tc := range map[string]struct {
		image, auth string
		reason      events.Reason
	}{
		"nobody answers":          {strings.TrimPrefix(gone.URL, "http://") + "/a/b:1", "", events.ReasonSeedUnreachable},
		"no such host":            {"reroot.invalid/a/b:1", "", events.ReasonSeedUnreachable},
		"no such image":           {open + "/a/b:1", "", events.ReasonSeedNotFound},
		"no such digest":          {open + "/a/b@sha256:" + strings.Repeat("0", 64), "", events.ReasonSeedNotFound},
		"short name":              {"fedora", "", events.ReasonSeedNotFound},
		"no pull secret":          {closed + "/a/b:1", "", events.ReasonSeedUnauthorized},
		"wrong password":          {closed + "/a/b:1", authFile(t, closed, "node", "wrong"), events.ReasonSeedUnauthorized},
		"right password":          {closed + "/a/b:1", authFile(t, closed, "node", "pass"), events.ReasonSeedNotFound},
		"pull secret is absent":   {closed + "/a/b:1", "/nonexistent/config.json", events.ReasonPullSecretMissing},
		"pull secret holds none":  {closed + "/a/b:1", empty, events.ReasonPullSecretMissing},
		"pull secret is not JSON": {closed + "/a/b:1", "/etc/passwd", events.ReasonPullSecretMissing},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := seedimage.Inspect(t.Context(), tc.image, access.Access{AuthFile: tc.auth, Insecure: true})
			wantReason(t, err, tc.reason)
		})
	}
}

func TestInspectDropsScheme(t *testing.T) {
	reg := startRegistry(t)
	made := create(t, reg)
	info, err := seedimage.Inspect(t.Context(), "docker://"+reg+"/okd/seed:4.17.0", access.Access{Insecure: true})
	if err != nil || info.Digest != made.Digest {
		t.Errorf("digest %s, %v; want %s", info.Digest, err, made.Digest)
	}
}

// onDisk mounts a small file system of its own, and returns where.
func onDisk(t testing.TB, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		// Another process that copies its mounts at this moment, as a sandbox does, would keep it busy.
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestImportWithoutSpace(t *testing.T) {
	reg := startRegistry(t)
	f := takeApart(t, reg, create(t, reg))
	small := f.push(t, reg)
	// Compressed it is so small that only unpacking shows its size.
	node := hosttest.New(t)
	node.MustDeploy(t, "okd", node.Commit(t, "4.17.0", nil))
	vard := filepath.Join(node.Stateroot("okd"), "var")
	write(t, vard, map[string]string{"zeros": ""})
	if err := os.Truncate(filepath.Join(vard, "zeros"), 32<<20); err != nil {
		t.Fatal(err)
	}
	bomb, err := seedimage.Create(t.Context(), seedimage.CreateOptions{
		Image: reg + "/okd/bomb:1", Access: access.Access{Insecure: true}, Host: node.Host, Stateroot: "okd",
		Cluster: seed.ClusterInfo{Version: "4.17.0"}, MachineConfig: []byte(machineConfig), Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ image, size, text string }{
		"too little from the start":    {small, "64m", "free"},
		"too little for what is in it": {bomb.Image, "530m", "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := onDisk(t, tc.size)
			n := newTargetIn(t, dir, tc.image)
			_, err := seedimage.Import(t.Context(), n.o)
			wantReason(t, err, events.ReasonNoSpace)
			if err == nil || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error %v, want %q in it", err, tc.text)
			}
			n.untouched(t)
		})
	}
}
