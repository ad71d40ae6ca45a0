package precache_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containers/storage/pkg/reexec"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/reroot-dev/reroot/events"
	access "github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/node-executor/precache"
)

func TestMain(m *testing.M) {
	if reexec.Init() { // a layer is being unpacked
		return
	}
	os.Exit(m.Run())
}

// images is a registry with a log of what was asked of it.
type images struct {
	t    testing.TB
	host string

	mu    sync.Mutex
	paths []string // METHOD PATH of every request
	fail  func(r *http.Request) int
}

func newImages(t testing.TB) *images {
	t.Helper()
	i := &images{t: t}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		i.paths = append(i.paths, r.Method+" "+r.URL.Path)
		status := 0
		if i.fail != nil {
			status = i.fail(r)
		}
		i.mu.Unlock()
		if status != 0 {
			w.WriteHeader(status)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	i.host = strings.TrimPrefix(server.URL, "http://")
	return i
}

// asked forgets and returns what was asked of the registry, as far as it holds part.
func (i *images) asked(part string) []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var found []string
	for _, p := range i.paths {
		if strings.Contains(p, part) {
			found = append(found, p)
		}
	}
	i.paths = nil
	return found
}

func (i *images) setFail(f func(r *http.Request) int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fail = f
}

func (i *images) send(method, path, mediaType string, body []byte) {
	i.t.Helper()
	req, err := http.NewRequestWithContext(i.t.Context(), method, "http://"+i.host+"/v2/"+path, bytes.NewReader(body))
	if err != nil {
		i.t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		i.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		i.t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
}

// push makes an image of one file and tags it. It returns the digest of its manifest.
func (i *images) push(name, tag, content string) digest.Digest {
	i.t.Helper()
	var plain, packed bytes.Buffer
	out := tar.NewWriter(&plain)
	if err := out.WriteHeader(&tar.Header{Name: "file", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}); err != nil {
		i.t.Fatal(err)
	}
	if _, err := io.WriteString(out, content); err != nil {
		i.t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		i.t.Fatal(err)
	}
	zip := gzip.NewWriter(&packed)
	if _, err := zip.Write(plain.Bytes()); err != nil {
		i.t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		i.t.Fatal(err)
	}
	config := mustJSON(i.t, v1.Image{
		Platform: v1.Platform{Architecture: runtime.GOARCH, OS: "linux"},
		RootFS:   v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(plain.Bytes())}},
	})
	manifest := mustJSON(i.t, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: descriptor(v1.MediaTypeImageConfig, config),
		Layers: []v1.Descriptor{descriptor(v1.MediaTypeImageLayerGzip, packed.Bytes())},
	})
	for _, blob := range [][]byte{packed.Bytes(), config} {
		i.send(http.MethodPost, name+"/blobs/uploads/?digest="+digest.FromBytes(blob).String(), "application/octet-stream", blob)
	}
	i.send(http.MethodPut, name+"/manifests/"+tag, v1.MediaTypeImageManifest, manifest)
	return digest.FromBytes(manifest)
}

// pushIndex makes a list that holds a pushed image and one of another architecture.
func (i *images) pushIndex(name, tag string, instance digest.Digest) digest.Digest {
	i.t.Helper()
	foreign := i.push(name, "foreign", "of another architecture")
	index := mustJSON(i.t, v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{
			{MediaType: v1.MediaTypeImageManifest, Digest: foreign, Size: 1,
				Platform: &v1.Platform{Architecture: "s390x", OS: "linux"}},
			{MediaType: v1.MediaTypeImageManifest, Digest: instance, Size: 1,
				Platform: &v1.Platform{Architecture: runtime.GOARCH, OS: "linux"}},
		},
	})
	i.send(http.MethodPut, name+"/manifests/"+tag, v1.MediaTypeImageIndex, index)
	return digest.FromBytes(index)
}

func descriptor(mediaType string, data []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// options is a run into a store of its own.
func options(t testing.TB, driver string, list ...string) precache.Options {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers/storage changes owners")
	}
	dir := t.TempDir()
	return precache.Options{
		Images: list, Access: access.Access{Insecure: true}, Pause: time.Millisecond, Parallel: parallel,
		Store: precache.Store{Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run"), Driver: driver},
	}
}

func TestRun(t *testing.T) {
	for _, driver := range []string{"vfs", "overlay"} {
		t.Run(driver, func(t *testing.T) {
			i := newImages(t)
			a := i.push("okd/a", "1", "content of a")
			b := i.push("okd/b", "1", "content of b")
			list := i.pushIndex("okd/b", "list", b)
			i.push("okd/c", "1", "content of c")
			o := options(t, driver, i.host+"/okd/a@"+a.String(), i.host+"/okd/b@"+list.String(), i.host+"/okd/c:1",
				i.host+"/okd/c:1", "docker://"+i.host+"/okd/a:1")
			var last precache.Progress
			o.Progress = func(p precache.Progress) { last = p }

			got, err := precache.Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			// okd/a stands there twice, by digest and by tag; which of the two finds the other's is a matter of time.
			if got.Total != 4 || got.Pulled+got.Present != 4 || got.Pulled < 3 {
				t.Errorf("result %+v", got)
			}
			if last.Total != 4 || last.Pulled+last.Present != 4 {
				t.Errorf("last progress %+v", last)
			}

			i.asked("")
			got, err = precache.Run(t.Context(), o)
			if diff := cmp.Diff(precache.Result{Total: 4, Present: 4}, got); diff != "" || err != nil {
				t.Errorf("second run: %v (-want +got):\n%s", err, diff)
			}
			if blobs := i.asked("/blobs/"); len(blobs) > 0 {
				t.Errorf("the second run fetched %v", blobs)
			}
		})
	}
}

func TestRunFollowsTag(t *testing.T) {
	i := newImages(t)
	i.push("okd/a", "1", "old")
	o := options(t, "vfs", i.host+"/okd/a:1")
	if _, err := precache.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	i.push("okd/a", "1", "new")
	got, err := precache.Run(t.Context(), o)
	if diff := cmp.Diff(precache.Result{Total: 1, Pulled: 1}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got := storedFiles(t, o.Store.Root); len(got) != 2 || got["new"] == "" {
		t.Errorf("store holds %v", got)
	}
}

// storedFiles maps the content of each image's one file in a vfs store to its path.
func storedFiles(t testing.TB, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(filepath.Join(root, "vfs", "dir"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "file" {
			var text []byte
			text, err = os.ReadFile(path)
			files[string(text)] = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A power cut may leave what the store knows by name and not by content.
func TestRunRepairsDamage(t *testing.T) {
	for name, damage := range map[string]func(root, file string) error{
		"a file is empty":   func(_, file string) error { return os.Truncate(file, 0) },
		"a file is changed": func(_, file string) error { return os.WriteFile(file, []byte("CONTENT"), 0o644) },
		"a file is gone":    func(_, file string) error { return os.Remove(file) },
		"a manifest is empty": func(root, _ string) error {
			found, err := filepath.Glob(filepath.Join(root, "vfs-images/*/manifest"))
			if err != nil || len(found) != 1 {
				return fmt.Errorf("manifests %v, %v", found, err)
			}
			return os.Truncate(found[0], 0)
		},
		"all data of the image are empty": func(root, _ string) error {
			found, err := filepath.Glob(filepath.Join(root, "vfs-images/*/*"))
			if err != nil || len(found) < 3 {
				return fmt.Errorf("data %v, %v", found, err)
			}
			for _, f := range found {
				if err := os.Truncate(f, 0); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := newImages(t)
			a := i.push("okd/a", "1", "content")
			o := options(t, "vfs", i.host+"/okd/a@"+a.String())
			if _, err := precache.Run(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			if err := damage(o.Store.Root, storedFiles(t, o.Store.Root)["content"]); err != nil {
				t.Fatal(err)
			}
			for _, want := range []precache.Result{{Total: 1, Pulled: 1}, {Total: 1, Present: 1}} {
				got, err := precache.Run(t.Context(), o)
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("%v (-want +got):\n%s", err, diff)
				}
			}
			if got := storedFiles(t, o.Store.Root); len(got) != 1 || got["content"] == "" {
				t.Errorf("store holds %v", got)
			}
		})
	}
}

func TestRunRetries(t *testing.T) {
	i := newImages(t)
	a := i.push("okd/a", "1", "content")
	o := options(t, "vfs", i.host+"/okd/a@"+a.String())
	failures := 0
	i.setFail(func(r *http.Request) int {
		if strings.Contains(r.URL.Path, "/manifests/") && failures < 3 {
			failures++
			return http.StatusServiceUnavailable
		}
		return 0
	})
	got, err := precache.Run(t.Context(), o)
	if diff := cmp.Diff(precache.Result{Total: 1, Pulled: 1}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if failures != 3 {
		t.Errorf("%d failures, want 3", failures)
	}
}

func TestRunReportsWhatIsMissing(t *testing.T) {
	i := newImages(t)
	i.push("okd/a", "1", "content")
	i.push("okd/broken", "1", "lost")
	i.setFail(func(r *http.Request) int {
		if strings.HasPrefix(r.URL.Path, "/v2/okd/broken/blobs/") {
			return http.StatusInternalServerError
		}
		return 0
	})
	o := options(t, "vfs", i.host+"/okd/a:1", i.host+"/okd/absent:1", i.host+"/okd/broken:1", "no pull spec")
	o.Attempts = 3
	got, err := precache.Run(t.Context(), o)
	var e *precache.Error
	if !errors.As(err, &e) || e.Reason() != events.ReasonPrecacheFailed {
		t.Fatalf("error %v, want reason %s", err, events.ReasonPrecacheFailed)
	}
	var failed []string
	for _, f := range got.Failed {
		failed = append(failed, strings.TrimPrefix(f.Image, i.host))
	}
	if diff := cmp.Diff([]string{"/okd/absent:1", "/okd/broken:1", "no pull spec"}, failed); diff != "" || got.Pulled != 1 {
		t.Errorf("result %+v (-want +got):\n%s", got, diff)
	}
	if !errors.Is(got.Failed[0].Err, access.ErrNotFound) || !errors.Is(got.Failed[1].Err, access.ErrUnreachable) {
		t.Errorf("causes %v", got.Failed)
	}
	asked := i.asked("")
	count := map[string]int{}
	for _, p := range asked {
		for _, name := range []string{"absent", "broken/manifests"} {
			if strings.Contains(p, name) {
				count[name]++
			}
		}
	}
	if count["absent"] != 1 || count["broken/manifests"] < 3 {
		t.Errorf("asked %v times; want one for what is absent, and each attempt for what is broken", count)
	}
}

func TestRunEndsWithContext(t *testing.T) {
	i := newImages(t)
	i.push("okd/a", "1", "content")
	i.setFail(func(*http.Request) int { return http.StatusServiceUnavailable })
	o := options(t, "vfs", i.host+"/okd/a:1")
	o.Pause, o.Attempts = time.Hour, 2
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	got, err := precache.Run(ctx, o)
	if !errors.Is(err, context.DeadlineExceeded) || len(got.Failed) != 1 {
		t.Errorf("result %+v, error %v", got, err)
	}
}

func TestRunWithoutImages(t *testing.T) {
	got, err := precache.Run(t.Context(), options(t, "vfs"))
	if diff := cmp.Diff(precache.Result{}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestReadList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "containers.list")
	if err := os.WriteFile(path, []byte("a.test/x:1\n\n b.test/y@sha256:00 \nlast"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := precache.ReadList(path)
	if diff := cmp.Diff([]string{"a.test/x:1", "b.test/y@sha256:00", "last"}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := precache.ReadList(path + ".absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
