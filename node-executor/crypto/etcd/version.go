package etcd

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
)

// Opening a backend with the wrong etcd to learn its version would be too late, so the version is read
// from the file: bucket "cluster", key "clusterVersion".

var minorVersion = regexp.MustCompile(`^3\.[0-9]+$`)

// IsMinor tells whether a text is a minor version such as [Minor] returns.
func IsMinor(text string) bool { return minorVersion.MatchString(text) }

var fullVersion = regexp.MustCompile(`^(\d+\.\d+)\.\d+`)

// Minor returns the minor version, such as 3.5, of the cluster that wrote a backend file. A file between two versions
// is refused with [ErrVersion]. The file is only read.
func Minor(db string) (string, error) {
	f, err := os.Open(db)
	if err != nil {
		return "", fmt.Errorf("cannot read etcd's version: %w", err)
	}
	defer f.Close()
	minor, err := minorOf(f)
	if err != nil {
		return "", fmt.Errorf("cannot read etcd's version of %s: %w", db, err)
	}
	return minor, nil
}

func minorOf(file io.ReaderAt) (string, error) {
	b, err := openBolt(file)
	if err != nil {
		return "", err
	}
	cluster, err := b.value("cluster", "clusterVersion")
	if err != nil {
		return "", err
	}
	match := fullVersion.FindSubmatch(cluster)
	if match == nil {
		return "", ErrVersion
	}
	// Since 3.6 the form of the file has a version of its own, which follows the cluster's within seconds.
	storage, err := b.value("meta", "storageVersion")
	if err != nil {
		return "", err
	}
	if storage != nil && !bytes.HasPrefix(storage, append(match[1], '.')) {
		return "", fmt.Errorf("its storage is of %s, its cluster of %s: %w", storage, cluster, ErrVersion)
	}
	return string(match[1]), nil
}
