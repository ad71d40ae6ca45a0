package site

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// ownFiles go along where they exist: what the node is called, how it is reached, by what keys it is known, and whose
// time it believes.
var ownFiles = []string{
	"/etc/hostname",
	"/etc/NetworkManager/system-connections/*",
	"/etc/ssh/ssh_host_*_key", "/etc/ssh/ssh_host_*_key.pub",
	"/etc/chrony.conf",
	"/etc/pki/ca-trust/source/anchors/*",
}

// collectFiles takes the node's own files and those that the configuration adds.
func collectFiles(_ context.Context, src *source, s *Site) error {
	var problems []error
	for _, pattern := range slices.Concat(ownFiles, src.Files) {
		names, err := fs.Glob(src.root.FS(), strings.TrimPrefix(path.Clean(pattern), "/"))
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", pattern, err))
			continue
		}
		for _, name := range names {
			f, err := readFile(src.root, name)
			if err != nil {
				problems = append(problems, err)
				continue
			}
			s.Files = append(s.Files, f)
		}
	}
	return errors.Join(problems...)
}

func readFile(root *os.Root, name string) (File, error) {
	info, err := root.Stat(name)
	if err != nil {
		return File{}, err
	}
	data, err := readBounded(root, name)
	if err != nil {
		return File{}, err
	}
	f := File{Path: "/" + name, Mode: info.Mode().Perm(), Data: data}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		f.UID, f.GID = int(st.Uid), int(st.Gid)
	}
	return f, nil
}
