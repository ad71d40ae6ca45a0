package seedimage_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/seed"
	"github.com/reroot-dev/reroot/node-executor/seedimage"
)

// forged is a seed image taken apart, to be changed and put together again with digests that fit.
type forged struct {
	labels map[string]string
	files  map[string][]byte
}

// takeApart fetches an image that Create pushed.
func takeApart(t testing.TB, registryHost string, info seedimage.Info) *forged {
	t.Helper()
	base := "http://" + registryHost + "/v2/okd/seed/"
	var m v1.Manifest
	if err := json.Unmarshal(get(t, base+"manifests/"+info.Digest.String()), &m); err != nil {
		t.Fatal(err)
	}
	labels, err := seed.Labels(cluster)
	if err != nil {
		t.Fatal(err)
	}
	return &forged{labels: labels, files: untar(t, get(t, base+"blobs/"+m.Layers[0].Digest.String()))}
}

func get(t testing.TB, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return data
}

// untar reads the regular files of a compressed archive.
func untar(t testing.TB, data []byte) map[string][]byte {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for in := tar.NewReader(zip); ; {
		hdr, err := in.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[hdr.Name], err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
	}
}

// tgz makes a compressed archive of these headers; regular files hold their own name.
func tgz(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	out := tar.NewWriter(zip)
	for _, hdr := range entries {
		hdr.Mode = 0o755
		if hdr.Typeflag == tar.TypeReg {
			hdr.Size = int64(len(hdr.Name))
		}
		if err := out.WriteHeader(&hdr); err != nil {
			t.Fatal(err)
		}
		if hdr.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(out, hdr.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// layer makes the image's one layer.
func (f *forged) layer(t testing.TB) []byte {
	t.Helper()
	var buf bytes.Buffer
	zip, err := gzip.NewWriterLevel(&buf, gzip.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	out := tar.NewWriter(zip)
	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		if err := out.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(f.files[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write(f.files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// push puts the image into a registry and returns its pull spec.
func (f *forged) push(t testing.TB, registryHost string) string {
	t.Helper()
	layer := f.layer(t)
	config, err := json.Marshal(v1.Image{
		Platform: v1.Platform{Architecture: "amd64", OS: "linux"}, Config: v1.ImageConfig{Labels: f.labels},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString("not read")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal(v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers: []v1.Descriptor{{MediaType: v1.MediaTypeImageLayerGzip, Digest: digest.FromBytes(layer), Size: int64(len(layer))}},
	})
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + registryHost + "/v2/okd/forged/"
	for _, blob := range [][]byte{layer, config} {
		send(t, http.MethodPost, base+"blobs/uploads/?digest="+digest.FromBytes(blob).String(), "application/octet-stream", blob)
	}
	name := digest.FromBytes(manifest).String()
	send(t, http.MethodPut, base+"manifests/"+name, v1.MediaTypeImageManifest, manifest)
	return registryHost + "/okd/forged@" + name
}

func send(t testing.TB, method, url, mediaType string, body []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("%s %s: %s", method, url, resp.Status)
	}
}

func TestForgedSeeds(t *testing.T) {
	reg := startRegistry(t)
	made := create(t, reg)
	n := newTarget(t, "")
	for name, tc := range map[string]struct {
		forge  func(*forged)
		reason events.Reason
		text   string
	}{
		"no seed image": {func(f *forged) { f.labels = nil }, events.ReasonSeedFormat, "no seed image"},
		"format 3":      {func(f *forged) { f.labels[seed.LabelFormat] = "3" }, events.ReasonSeedFormat, "is 3, only 4"},
		"label and manifest differ": {func(f *forged) {
			f.files[seed.FileClusterInfo] = []byte(`{"seed_cluster_ocp_version":"4.99.0"}`)
		}, events.ReasonSeedVersionMismatch, "4.99.0"},
		"no var": {func(f *forged) { delete(f.files, seed.FileVar) }, events.ReasonSeedFormat, "lacks var.tgz"},
		"nothing booted": {func(f *forged) { f.files[seed.FileRPMOstree] = []byte(`{"deployments":[]}`) },
			events.ReasonSeedFormat, "no deployment is booted"},
		"booted is no deployment": {func(f *forged) {
			f.files[seed.FileRPMOstree] = []byte(`{"deployments":[{"booted":true,"id":"okd-../../x.0"}]}`)
		}, events.ReasonSeedFormat, "deployment id"},
		"machine config is no JSON": {func(f *forged) { f.files[seed.FileMachineConfig] = []byte("{") },
			events.ReasonSeedFormat, "mco-currentconfig.json"},
		"var leads out": {func(f *forged) {
			f.files[seed.FileVar] = tgz(t, tar.Header{Name: "var/../../../../evil", Typeflag: tar.TypeReg})
		}, events.ReasonSeedUnsafe, "evil"},
		"var is absolute": {func(f *forged) {
			f.files[seed.FileVar] = tgz(t, tar.Header{Name: "/var/evil", Typeflag: tar.TypeReg})
		}, events.ReasonSeedUnsafe, "evil"},
		"var writes through its own link": {func(f *forged) {
			f.files[seed.FileVar] = tgz(t, tar.Header{Name: "var/out", Typeflag: tar.TypeSymlink, Linkname: "/tmp"},
				tar.Header{Name: "var/out/evil", Typeflag: tar.TypeReg})
		}, events.ReasonSeedUnsafe, "evil"},
		"etc holds usr": {func(f *forged) {
			f.files[seed.FileEtc] = tgz(t, tar.Header{Name: "usr/bin/evil", Typeflag: tar.TypeReg})
		}, events.ReasonSeedUnsafe, "usr/bin/evil"},
		"etc links to the node's files": {func(f *forged) {
			f.files[seed.FileEtc] = tgz(t, tar.Header{Name: "etc/evil", Typeflag: tar.TypeLink, Linkname: "etc/../../../../../etc/shadow"})
		}, events.ReasonSeedUnsafe, "evil"},
		"repository leads out": {func(f *forged) {
			f.files[seed.FileOstree] = tgz(t, tar.Header{Name: "./objects/../../evil", Typeflag: tar.TypeReg})
		}, events.ReasonSeedUnsafe, "evil"},
		"deletions lead out": {func(f *forged) { f.files[seed.FileEtcDeletions] = []byte("/etc/../usr/lib/os-release\n") },
			events.ReasonSeedUnsafe, "os-release"},
		"repository's configuration is a link": {func(f *forged) {
			f.files[seed.FileOstree] = tgz(t, tar.Header{Name: "./config", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
				tar.Header{Name: "./objects/", Typeflag: tar.TypeDir})
		}, events.ReasonSeedFormat, "holds no repository"},
		"no repository": {func(f *forged) { f.files[seed.FileOstree] = tgz(t) }, events.ReasonSeedFormat, "holds no repository"},
		"repository without objects": {func(f *forged) {
			f.files[seed.FileOstree] = repack(t, f.files[seed.FileOstree], func(name string, data []byte) []byte {
				if strings.HasPrefix(name, "objects/") {
					return nil
				}
				return data
			})
		}, events.ReasonSeedCorrupt, "cannot pull commit"},
		"an object is another": {func(f *forged) {
			f.files[seed.FileOstree] = repack(t, f.files[seed.FileOstree], func(name string, data []byte) []byte {
				if strings.HasSuffix(name, ".file") && len(data) > 1000 {
					data[500]++
				}
				return data
			})
		}, events.ReasonSeedCorrupt, "cannot pull commit"},
		"var is cut off": {func(f *forged) { f.files[seed.FileVar] = f.files[seed.FileVar][:len(f.files[seed.FileVar])/2] },
			events.ReasonSeedCorrupt, "var.tgz"},
		"var is no archive": {func(f *forged) { f.files[seed.FileVar] = []byte("var") }, events.ReasonSeedCorrupt, "var.tgz"},
		"origin of another deployment": {func(f *forged) {
			for name := range f.files {
				if strings.HasSuffix(name, ".origin") {
					delete(f.files, name)
				}
			}
			f.files["ostree-"+strings.Repeat("0", 64)+".0.origin"] = []byte("[origin]\n")
		}, events.ReasonSeedFormat, "lacks ostree-"},
	} {
		t.Run(name, func(t *testing.T) {
			f := takeApart(t, reg, made)
			tc.forge(f)
			o := n.o
			o.Image = f.push(t, reg)
			r, err := seedimage.Import(t.Context(), o)
			wantReason(t, err, tc.reason)
			if err == nil || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("result %+v, error %v; want %q in it", r, err, tc.text)
			}
			n.untouched(t)
		})
	}
}

// repack edits the files of a compressed archive; a nil content removes the file.
func repack(t testing.TB, data []byte, edit func(string, []byte) []byte) []byte {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	outZip := gzip.NewWriter(&buf)
	out := tar.NewWriter(outZip)
	for in := tar.NewReader(zip); ; {
		hdr, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if hdr.Typeflag == tar.TypeReg {
			if content = edit(hdr.Name, content); content == nil {
				continue
			}
			hdr.Size = int64(len(content))
		}
		if err := out.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := outZip.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
