package archive_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/node-executor/seedimage/archive"
)

// makeTree makes one of everything that a root file system holds.
func makeTree(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners and devices")
	}
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	must(os.MkdirAll(at("sub/deep"), 0o751))
	must(os.Mkdir(at("empty"), 0o1777))
	must(os.WriteFile(at("plain"), []byte("text"), 0o644))
	must(os.WriteFile(at("sub/tool"), []byte("#!"), 0o755))
	must(os.Chown(at("sub/tool"), 167, 168))
	must(unix.Chmod(at("sub/tool"), 0o6755))
	must(unix.Chmod(at("empty"), 0o1777))
	must(os.Link(at("plain"), at("sub/deep/same")))
	must(os.Symlink("/etc/absolute", at("link")))
	must(os.Symlink("../nowhere", at("sub/dangling")))
	must(unix.Lchown(at("link"), 5, 6))
	must(unix.Mkfifo(at("fifo"), 0o600))
	must(unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(unix.Setxattr(at("sub/tool"), "security.capability", capability, 0))
	must(unix.Setxattr(at("plain"), "user.note", []byte("with\x00zero"), 0))
	must(unix.Setxattr(at("sub"), "user.dir", []byte("d"), 0))
	must(unix.Setxattr(at("sub/deep"), "system.posix_acl_access", aclUser1000, 0))
	must(os.WriteFile(at(strings.Repeat("n", 200)), []byte("long name"), 0o600))
	for _, name := range []string{"plain", "sub/tool", "sub/deep", "sub", "empty"} {
		must(os.Chtimes(at(name), time.Time{}, time.Unix(1700000000, 123456789)))
	}
	return dir
}

var (
	capability = []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // cap_net_bind_service, version 2
	// user::rwx user:1000:r-x group::r-x mask::r-x other::--x, version 2
	aclUser1000 = []byte{
		2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 5, 0, 232, 3, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255,
		16, 0, 5, 0, 255, 255, 255, 255, 32, 0, 1, 0, 255, 255, 255, 255,
	}
)

// describe lists everything below dir with all that has to survive; hard links show as their inode's first name.
func describe(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	first := map[uint64]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || name == "." {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		text := fmt.Sprintf("mode=%o owner=%d:%d", st.Mode, st.Uid, st.Gid)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			if name, ok := first[st.Ino]; ok {
				text += " same as " + name
			}
			first[st.Ino] = name
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" content=%q mtime=%d.%09d", data, st.Mtim.Sec, st.Mtim.Nsec)
		case unix.S_IFDIR:
			text += fmt.Sprintf(" mtime=%d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
		case unix.S_IFLNK:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " -> " + to
		case unix.S_IFCHR:
			text += fmt.Sprintf(" dev=%d", st.Rdev)
		}
		all[name] = text + attrs(t, path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func attrs(t testing.TB, path string) string {
	t.Helper()
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(strings.ReplaceAll(string(buf[:n]), "\x00", " "))
	slices.Sort(names)
	text := ""
	for _, name := range names {
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf(" %s=%q", name, value[:n])
	}
	return text
}

func pack(t testing.TB, dir, prefix string, skip func(string) bool) []byte {
	t.Helper()
	var buf bytes.Buffer
	p := archive.NewPacker(&buf)
	if err := p.Tree(t.Context(), dir, prefix, skip); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestPackAndUnpack(t *testing.T) {
	from, to := makeTree(t), t.TempDir()
	data := pack(t, from, "var", nil)
	stats, err := archive.Unpack(t.Context(), bytes.NewReader(data), to, archive.UnpackOptions{Prefix: "var"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(describe(t, from), describe(t, to)); diff != "" {
		t.Errorf("trees differ (-packed +unpacked):\n%s", diff)
	}
	if stats.Bytes != int64(len("text")+len("#!")+len("long name")) {
		t.Errorf("stats %+v", stats)
	}
	// Unpacking over it again ends in the same tree.
	if _, err := archive.Unpack(t.Context(), bytes.NewReader(data), to, archive.UnpackOptions{Prefix: "var"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(describe(t, from), describe(t, to)); diff != "" {
		t.Errorf("trees differ after the second time (-packed +unpacked):\n%s", diff)
	}
}

// Seeds of the lifecycle-agent are made by GNU tar with these options, and read by it.
func TestGNUTar(t *testing.T) {
	options := []string{"--xattrs", "--xattrs-include=*", "--acls"}
	t.Run("reads ours", func(t *testing.T) {
		from, to := makeTree(t), t.TempDir()
		cmd := exec.CommandContext(t.Context(), "tar", append([]string{"x", "-C", to}, options...)...)
		cmd.Stdin = bytes.NewReader(pack(t, from, ".", nil))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if diff := cmp.Diff(describe(t, from), describe(t, to)); diff != "" {
			t.Errorf("trees differ (-packed +unpacked):\n%s", diff)
		}
	})
	t.Run("writes for us", func(t *testing.T) {
		from, to := makeTree(t), t.TempDir()
		cmd := exec.CommandContext(t.Context(), "tar", append([]string{"c", "--format=posix", "-C", from, "."}, options...)...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Unpack(t.Context(), bytes.NewReader(out), to, archive.UnpackOptions{}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(describe(t, from), describe(t, to)); diff != "" {
			t.Errorf("trees differ (-packed +unpacked):\n%s", diff)
		}
	})
}

func TestPackSkips(t *testing.T) {
	from := makeTree(t)
	data := pack(t, from, "var", func(name string) bool { return name == "sub" || strings.HasPrefix(name, "nnn") })
	var names []string
	for in := tar.NewReader(bytes.NewReader(data)); ; {
		hdr, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, hdr.Name)
	}
	want := []string{"var/", "var/empty/", "var/fifo", "var/link", "var/null", "var/plain"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("names differ (-want +got):\n%s", diff)
	}
}

// stream makes an archive of these headers; regular files hold their own name.
func stream(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	out := tar.NewWriter(&buf)
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
	return buf.Bytes()
}

func TestUnpackRefuses(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	hard := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to}
	}
	outside := t.TempDir()
	for name, tc := range map[string]struct {
		entries []tar.Header
		want    error
	}{
		"absolute":                        {[]tar.Header{file("/etc/passwd")}, archive.ErrUnsafe},
		"dot dot":                         {[]tar.Header{file("../x")}, archive.ErrUnsafe},
		"dot dot in the middle":           {[]tar.Header{file("var/../../x")}, archive.ErrUnsafe},
		"dot dot that stays inside":       {[]tar.Header{file("var/a/../b")}, archive.ErrUnsafe},
		"beside the prefix":               {[]tar.Header{file("variant/x")}, archive.ErrUnsafe},
		"through a link that leads out":   {[]tar.Header{link("var/l", outside), file("var/l/x")}, archive.ErrUnsafe},
		"through a relative link":         {[]tar.Header{link("var/l", "../.."), file("var/l/x")}, archive.ErrUnsafe},
		"through two links":               {[]tar.Header{link("var/a", "b"), link("var/b", ".."), file("var/a/x")}, archive.ErrUnsafe},
		"directory through a link":        {[]tar.Header{link("var/l", outside), {Name: "var/l/d/", Typeflag: tar.TypeDir}}, archive.ErrUnsafe},
		"hard link to outside":            {[]tar.Header{hard("var/h", "var/../../../etc/passwd")}, archive.ErrUnsafe},
		"absolute hard link":              {[]tar.Header{hard("var/h", "/etc/passwd")}, archive.ErrUnsafe},
		"hard link through a link":        {[]tar.Header{link("var/l", "/etc"), hard("var/h", "var/l/passwd")}, archive.ErrUnsafe},
		"hard link to what is not there":  {[]tar.Header{hard("var/h", "var/none")}, fs.ErrNotExist},
		"a file over a full directory":    {[]tar.Header{file("var/d/x"), file("var/d")}, unix.ENOTEMPTY},
		"below a pipe":                    {[]tar.Header{{Name: "var/p", Typeflag: tar.TypeFifo}, file("var/p/x")}, unix.ENOTDIR},
		"hard link below a pipe":          {[]tar.Header{{Name: "var/p", Typeflag: tar.TypeFifo}, hard("var/h", "var/p/x")}, unix.ENOTDIR},
		"the root is a file":              {[]tar.Header{file("var")}, archive.ErrDamaged},
		"an entry of an unknown type":     {[]tar.Header{{Name: "var/x", Typeflag: 'Z'}}, archive.ErrDamaged},
		"more than the limit":             {[]tar.Header{file("var/" + strings.Repeat("x", 90)), file("var/y")}, archive.ErrTooLarge},
		"too much below what is left out": {[]tar.Header{file("var/skip/../../x")}, archive.ErrUnsafe},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "root")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			_, err := archive.Unpack(t.Context(), bytes.NewReader(stream(t, tc.entries...)), dir, archive.UnpackOptions{
				Prefix: "var", MaxBytes: 90, Accept: func(name string) bool { return !strings.HasPrefix(name, "skip") },
			})
			if !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			for _, d := range []string{parent, outside} {
				left, err := os.ReadDir(d)
				if err != nil || len(left) > 1 || len(left) == 1 && left[0].Name() != "root" {
					t.Errorf("written outside: %v, %v", left, err)
				}
			}
		})
	}
}

func TestUnpackCutOff(t *testing.T) {
	name := "var/" + strings.Repeat("x", 80)
	data := stream(t, tar.Header{Name: name, Typeflag: tar.TypeReg}, tar.Header{Name: "var/y", Typeflag: tar.TypeReg})
	for what, at := range map[string]int{"header": 100, "content": 512 + 40, "second header": 1024 + 100} {
		_, err := archive.Unpack(t.Context(), bytes.NewReader(data[:at]), t.TempDir(), archive.UnpackOptions{Prefix: "var"})
		if !errors.Is(err, archive.ErrDamaged) {
			t.Errorf("cut off in the %s: %v, want %v", what, err, archive.ErrDamaged)
		}
	}
}

func TestUnpackReplaces(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "file")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "dir")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "link"), 0o755); err != nil {
		t.Fatal(err)
	}
	data := stream(t, tar.Header{Name: "file", Typeflag: tar.TypeReg}, tar.Header{Name: "dir/", Typeflag: tar.TypeDir},
		tar.Header{Name: "dir/x", Typeflag: tar.TypeReg}, tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "x"})
	if _, err := archive.Unpack(t.Context(), bytes.NewReader(data), dir, archive.UnpackOptions{}); err != nil {
		t.Fatal(err)
	}
	got := map[string]fs.FileMode{}
	for _, name := range []string{"file", "dir", "dir/x", "link"} {
		st, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got[name] = st.Mode().Type()
	}
	want := map[string]fs.FileMode{"file": 0, "dir": fs.ModeDir, "dir/x": 0, "link": fs.ModeSymlink}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("types differ (-want +got):\n%s", diff)
	}
}

// Whatever the bytes are, nothing is written beside the root.
func FuzzUnpack(f *testing.F) {
	f.Add(stream(f, tar.Header{Name: "a/b", Typeflag: tar.TypeReg}, tar.Header{Name: "a/c", Typeflag: tar.TypeSymlink, Linkname: "../.."}))
	f.Add(stream(f, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: ".."}, tar.Header{Name: "l/x", Typeflag: tar.TypeReg}))
	f.Add(stream(f, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "../x"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "root")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_, _ = archive.Unpack(t.Context(), bytes.NewReader(data), dir, archive.UnpackOptions{MaxBytes: 1 << 20})
		left, err := os.ReadDir(parent)
		if err != nil || len(left) != 1 {
			t.Errorf("beside the root: %v, %v", left, err)
		}
	})
}
