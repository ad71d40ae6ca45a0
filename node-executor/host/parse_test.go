package host_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/node-executor/host"
)

const (
	commitOld22 = "01a3611b72efc29e677c33a59885874856d41101fb1172989cef4c84c28f712e"
	commitOld25 = "82f23fec7732d5aff95939db243bdf4c12d8e2baca458a45e943f075ef7f3656"
	commitNew   = "93b4db3368ace8abb6f330c125efbd4fc8d2734f112ca72d74691e1d7aa20cac"
)

func TestParseStatus(t *testing.T) {
	for name, tc := range map[string]struct {
		file string
		want []host.Deployment
	}{
		"2022.7 plain sysroot": {"status-2022.7-plain.txt", []host.Deployment{
			{Stateroot: "old", Commit: commitOld22, Index: 0, Version: "4.16.0", Origin: "test/4.16"},
			{Stateroot: "new_4.17", Commit: commitNew, Index: 1, Version: "4.17.0", Origin: commitNew},
		}},
		"2022.7 booted with one staged": {"status-2022.7-staged.txt", []host.Deployment{
			{Stateroot: "new_4.17", Commit: commitNew, Serial: 1, Index: 0, Staged: true, Version: "4.17.0", Origin: "test/4.17"},
			{Stateroot: "old", Commit: commitOld22, Index: 1, Booted: true, Version: "4.16.0", Origin: "test/4.16"},
			{Stateroot: "new_4.17", Commit: commitNew, Index: 2, Pinned: true, Version: "4.17.0", Origin: commitNew},
		}},
		"2025.2 booted is not the default": {"status-2025.2-switched.txt", []host.Deployment{
			{Stateroot: "new_4.17", Commit: commitNew, Index: 0, Pinned: true, Version: "4.17.0", Origin: commitNew},
			{Stateroot: "old", Commit: commitOld25, Index: 1, Booted: true, Version: "4.16.0", Origin: "test/4.16"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", tc.file))
			if err != nil {
				t.Fatal(err)
			}
			got, err := host.ParseStatus(text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("deployments differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseStatusSmall(t *testing.T) {
	for name, tc := range map[string]struct {
		text    string
		want    int
		wantErr string
	}{
		"none":                  {text: "No deployments.\n"},
		"empty":                 {text: ""},
		"rollback in brackets":  {text: "  os " + commitNew + ".12 (rollback)\n    Something: new\n", want: 1},
		"commit cut short":      {text: "  os " + commitNew[:63] + ".0\n", wantErr: "cannot parse"},
		"detail without a head": {text: "    Version: 1\n", wantErr: "cannot parse"},
		"stateroot with slash":  {text: "  ../os " + commitNew + ".0\n", wantErr: "cannot parse"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := host.ParseStatus([]byte(tc.text))
			if tc.wantErr == "" && (err != nil || len(got) != tc.want) {
				t.Errorf("got %d deployments, error %v; want %d", len(got), err, tc.want)
			}
			if tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)) {
				t.Errorf("error %v, want %q", err, tc.wantErr)
			}
		})
	}
}

func TestParseBootEntry(t *testing.T) {
	const sum = "1e3a7d91a6023d4b5e6d4122db44473104c530b7c81d8b49cb5941349a254585"
	for name, file := range map[string]string{
		"2022.7": "bls-2022.7/ostree-1-new_4.17.conf",
		"2025.2": "bls-2025.2/ostree-1.conf",
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", file))
			if err != nil {
				t.Fatal(err)
			}
			got, err := host.ParseBootEntry(filepath.Base(file), text)
			if err != nil {
				t.Fatal(err)
			}
			want := host.BootEntry{
				File: filepath.Base(file), Title: "Lab 4.17 4.17.0 (ostree:new_4.17:1)", Version: 1,
				Linux:   "/ostree/new_4.17-" + sum + "/vmlinuz-6.1",
				Initrd:  "/ostree/new_4.17-" + sum + "/initramfs-6.1.img",
				Options: `rw x.y="a b" ostree=/ostree/boot.0/new_4.17/` + sum + `/0`,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("entry differs (-want +got):\n%s", diff)
			}
			kargs := []string{"rw", `x.y="a b"`, "ostree=/ostree/boot.0/new_4.17/" + sum + "/0"}
			if diff := cmp.Diff(kargs, got.Kargs()); diff != "" {
				t.Errorf("kargs differ (-want +got):\n%s", diff)
			}
			if path, ok := got.Ostree(); !ok || path != "/ostree/boot.0/new_4.17/"+sum+"/0" {
				t.Errorf("ostree argument is %q, %v", path, ok)
			}
		})
	}
}

func TestParseBootEntryRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no version":      "title a\nlinux /vmlinuz\n",
		"version no int":  "version 6.1\nlinux /vmlinuz\n",
		"no kernel":       "version 1\n",
		"empty":           "",
		"overlong line":   "version 1\noptions " + strings.Repeat("x", 1<<17) + "\nlinux /vmlinuz\n",
		"version is huge": "version 99999999999999999999\nlinux /vmlinuz\n",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := host.ParseBootEntry("x.conf", []byte(text)); err == nil {
				t.Errorf("accepted as %+v", got)
			}
		})
	}
}

func TestParseConfigDiff(t *testing.T) {
	got, err := host.ParseConfigDiff([]byte("M    b\nD    a\nA    sub/z z\n"))
	want := []host.Change{{Kind: 'M', Path: "b"}, {Kind: 'D', Path: "a"}, {Kind: 'A', Path: "sub/z z"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("error %v, changes differ (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"X    a\n", "M\n", "error: no\n"} {
		if got, err := host.ParseConfigDiff([]byte(bad)); err == nil {
			t.Errorf("%q accepted as %v", bad, got)
		}
	}
}
