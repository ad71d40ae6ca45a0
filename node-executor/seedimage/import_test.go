package seedimage_test

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/seed"
	access "github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/node-executor/seedimage"
)

func discard() *log.Logger { return log.New(io.Discard, "", 0) }

func TestCreateAndImport(t *testing.T) {
	reg := startRegistry(t)
	made := create(t, reg)

	info, err := seedimage.Inspect(t.Context(), reg+"/okd/seed:4.17.0", access.Access{Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(made, info); diff != "" {
		t.Errorf("created and inspected differ (-created +inspected):\n%s", diff)
	}
	if diff := cmp.Diff(seed.Info{FormatVersion: 4, Cluster: cluster}, info.Info); diff != "" {
		t.Errorf("labels differ (-want +got):\n%s", diff)
	}

	n := newTarget(t, info.Image)
	n.o.Kargs = []string{"root=LABEL=root"}
	var seen []string
	n.o.Progress = func(p seedimage.Progress) {
		if len(seen) == 0 || seen[len(seen)-1] != p.Step {
			seen = append(seen, p.Step)
		}
		if p.Done > p.Total {
			t.Errorf("progress %+v", p)
		}
	}
	r, err := seedimage.Import(t.Context(), n.o)
	if err != nil {
		t.Fatal(err)
	}
	n.complete(t, r)
	if !slices.Equal(seen, seedimage.Steps()) {
		t.Errorf("steps %q, want %q", seen, seedimage.Steps())
	}
	if r.Existing || r.Bytes != info.Bytes || r.Objects == 0 || r.Digest != info.Digest.String() {
		t.Errorf("result %+v of %+v", r, info)
	}
	kargs := r.Deployment.Boot.Kargs()
	want := []string{"rw", `x.y="a b"`, "fips=1", "boot=LABEL=boot", "ibu=4.17.0", "root=LABEL=root"}
	if !slices.Equal(kargs[:len(kargs)-1], want) {
		t.Errorf("kernel arguments %q, want %q and ostree=", kargs, want)
	}
	db, err := os.Stat(filepath.Join(n.Stateroot("rhcos_4.17.0"), "var/lib/etcd/member/snap/db"))
	if err != nil {
		t.Fatal(err)
	}
	if st := db.Sys().(*syscall.Stat_t); st.Uid != 167 || st.Gid != 168 || db.Mode() != 0o640 {
		t.Errorf("owner %d:%d mode %v", st.Uid, st.Gid, db.Mode())
	}
	origin, err := os.ReadFile(r.Deployment.Path + ".origin")
	if err != nil || !strings.Contains(string(origin), "[origin]") {
		t.Errorf("origin %q, %v", origin, err)
	}

	again, err := seedimage.Import(t.Context(), n.o)
	if err != nil || !again.Existing || again.Deployment.ID() != r.Deployment.ID() {
		t.Errorf("a second import: %+v, %v", again, err)
	}
	// So does one after the deployment was chosen for the next boot.
	if err := n.SetDefault(t.Context(), r.Deployment.Stateroot, r.Deployment.Commit, r.Deployment.Serial); err != nil {
		t.Fatal(err)
	}
	if again, err = seedimage.Import(t.Context(), n.o); err != nil || !again.Existing || again.Deployment.Index != 0 {
		t.Errorf("an import of the default: %+v, %v", again, err)
	}
	for range 2 {
		if err := seedimage.Remove(t.Context(), n.Host, n.o.Dir, "rhcos_4.17.0"); err != nil {
			t.Fatal(err)
		}
		n.untouched(t)
	}
}

// An import whose record is lost is not trusted, whatever is on the disk.
func TestImportAgainWithoutRecord(t *testing.T) {
	n := newTarget(t, create(t, startRegistry(t)).Image)
	if _, err := seedimage.Import(t.Context(), n.o); err != nil {
		t.Fatal(err)
	}
	stray := filepath.Join(n.Stateroot("rhcos_4.17.0"), "var/stray")
	write(t, filepath.Dir(stray), map[string]string{"stray": "x"})
	for name, spoil := range map[string]func(path string) error{
		"gone":    os.Remove,
		"garbage": func(path string) error { return os.WriteFile(path, []byte("{"), 0o600) },
		"another digest": func(path string) error {
			text, err := json.Marshal(map[string]string{"digest": "sha256:" + strings.Repeat("0", 64), "version": "4.17.0"})
			if err != nil {
				return err
			}
			return os.WriteFile(path, text, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := spoil(filepath.Join(n.o.Dir, "rhcos_4.17.0/import.json")); err != nil {
				t.Fatal(err)
			}
			r, err := seedimage.Import(t.Context(), n.o)
			if err != nil || r.Existing {
				t.Fatalf("result %+v, %v; want a new import", r, err)
			}
			n.complete(t, r)
			wantFile(t, stray, "")
		})
	}
}

func TestImportRefusesStaterootInUse(t *testing.T) {
	n := newTarget(t, create(t, startRegistry(t)).Image)
	n.o.Stateroot = "okd"
	_, err := seedimage.Import(t.Context(), n.o)
	wantReason(t, err, events.ReasonImportFailed)
	n.untouched(t)
}

func TestImportRefusesTag(t *testing.T) {
	reg := startRegistry(t)
	create(t, reg)
	n := newTarget(t, reg+"/okd/seed:4.17.0")
	_, err := seedimage.Import(t.Context(), n.o)
	wantReason(t, err, events.ReasonImportFailed)
	n.untouched(t)
}

func TestImportOfAnotherVersion(t *testing.T) {
	n := newTarget(t, create(t, startRegistry(t)).Image)
	n.o.Version = "4.18.0"
	_, err := seedimage.Import(t.Context(), n.o)
	wantReason(t, err, events.ReasonSeedVersionMismatch)
	n.untouched(t)
}

func TestImportCancelled(t *testing.T) {
	n := newTarget(t, create(t, startRegistry(t)).Image)
	for _, step := range seedimage.Steps()[1:] {
		t.Run(step, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			n.o.Progress = func(p seedimage.Progress) {
				if p.Step == step {
					cancel()
				}
			}
			if r, err := seedimage.Import(ctx, n.o); err == nil {
				n.complete(t, r) // the last steps no longer wait for anything
				if err := seedimage.Remove(t.Context(), n.Host, n.o.Dir, n.o.Stateroot); err != nil {
					t.Fatal(err)
				}
			}
			n.untouched(t)
		})
	}
}
