package ostree_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/reroot-dev/reroot/test/lab/ostree"
)

// TestInitramfs reads the deployed image as the kernel would.
func TestInitramfs(t *testing.T) {
	sysroot := newSysroot(t)
	if _, err := sysroot.Deploy(t.Context(), ostree.DeployOptions{Stateroot: "os", Tree: ostree.Tree{Version: "1"}}); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(sysroot.Dir, "boot/ostree/*/initramfs-*.img"))
	if err != nil || len(names) != 1 {
		t.Fatalf("want one image, got %v, %v", names, err)
	}
	image, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for offset := 0; ; {
		header := image[offset:]
		number := func(field int) int {
			value, err := strconv.ParseUint(string(header[6+8*field:14+8*field]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(value)
		}
		if !bytes.HasPrefix(header, []byte("070701")) {
			t.Fatalf("no entry at %d", offset)
		}
		size, nameSize := number(6), number(11)
		name := string(header[110 : 110+nameSize-1])
		data := (110 + nameSize + 3) &^ 3
		if name == "TRAILER!!!" {
			break
		}
		files[name] = string(header[data : data+size])
		offset += (data + size + 3) &^ 3
	}
	if len(files) != 2 || !bytes.HasPrefix([]byte(files["etc/initrd-release"]), []byte("NAME=lab\n")) {
		t.Errorf("got %q", files)
	}
}
