package etcd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"regexp"
)

// Opening a backend with the wrong etcd to learn its version would be too late, so the version is read
// from the file: bucket "cluster", key "clusterVersion". The layout is bbolt's, file format 2, which has
// been the same since 2014.
const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	boltPageHeader = 16
	boltBranch     = 0x01
	boltLeaf       = 0x02
	boltBucket     = 0x01 // element flag
	boltMetaSum    = 56   // offset of a meta's checksum within it
	boltElement    = 16   // bytes of a page's element header
	boltMaxDepth   = 32
	boltMaxPage    = 64 << 10
	boltMaxRun     = 64 << 20 // bytes of a page with its overflow
)

var errBolt = errors.New("not a backend of etcd, or damaged")

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

type bolt struct {
	file     io.ReaderAt
	pageSize uint64
	root     uint64
}

// openBolt picks the newer of the two meta pages whose checksum holds.
func openBolt(file io.ReaderAt) (*bolt, error) {
	first := make([]byte, boltPageHeader+boltMetaSum+8)
	var best *bolt
	var newest uint64
	for _, offset := range []int64{0, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10} {
		if _, err := file.ReadAt(first, offset); err != nil {
			break
		}
		meta := first[boltPageHeader:]
		sum := fnv.New64a()
		sum.Write(meta[:boltMetaSum])
		size := uint64(binary.LittleEndian.Uint32(meta[8:]))
		if binary.LittleEndian.Uint32(meta) != boltMagic || binary.LittleEndian.Uint32(meta[4:]) != boltVersion ||
			binary.LittleEndian.Uint64(meta[boltMetaSum:]) != sum.Sum64() || size == 0 || size > boltMaxPage ||
			offset != 0 && uint64(offset) != size {
			continue
		}
		if transaction := binary.LittleEndian.Uint64(meta[48:]); best == nil || transaction > newest {
			best = &bolt{file: file, pageSize: size, root: binary.LittleEndian.Uint64(meta[16:])}
			newest = transaction
		}
	}
	if best == nil {
		return nil, errBolt
	}
	return best, nil
}

// value returns what a bucket says; nil when it does not say it.
func (b *bolt) value(bucket, key string) ([]byte, error) {
	page, err := b.page(b.root)
	if err != nil {
		return nil, err
	}
	header, flags, err := b.get(page, bucket, 0)
	if err != nil {
		return nil, err
	}
	if flags&boltBucket == 0 || len(header) < 16 {
		return nil, errBolt
	}
	// A small bucket stands within its parent: root page 0, and the page after the header.
	inline := header[16:]
	if root := binary.LittleEndian.Uint64(header); root != 0 {
		if inline, err = b.page(root); err != nil {
			return nil, err
		}
	}
	value, _, err := b.get(inline, key, 0)
	return value, err
}

func (b *bolt) page(id uint64) ([]byte, error) {
	header := make([]byte, boltPageHeader)
	if _, err := b.file.ReadAt(header, int64(id*b.pageSize)); err != nil {
		return nil, errBolt
	}
	size := (uint64(binary.LittleEndian.Uint32(header[12:])) + 1) * b.pageSize
	if size > boltMaxRun {
		return nil, errBolt
	}
	page := make([]byte, size)
	if _, err := b.file.ReadAt(page, int64(id*b.pageSize)); err != nil {
		return nil, errBolt
	}
	return page, nil
}

// get finds a key in a page or below it; the value is nil when it is not there.
func (b *bolt) get(page []byte, key string, depth int) (value []byte, flags uint32, err error) {
	if depth > boltMaxDepth || len(page) < boltPageHeader {
		return nil, 0, errBolt
	}
	kind := binary.LittleEndian.Uint16(page[8:])
	count := int(binary.LittleEndian.Uint16(page[10:]))
	if len(page) < boltPageHeader+count*boltElement {
		return nil, 0, errBolt
	}
	var child uint64
	found := false
	for i := range count {
		at := boltPageHeader + i*boltElement
		e := page[at : at+boltElement]
		switch {
		case kind&boltLeaf != 0:
			from, ks, vs := at+int(binary.LittleEndian.Uint32(e[4:])), int(binary.LittleEndian.Uint32(e[8:])), int(binary.LittleEndian.Uint32(e[12:]))
			if from+ks+vs > len(page) {
				return nil, 0, errBolt
			}
			if string(page[from:from+ks]) == key {
				return page[from+ks : from+ks+vs], binary.LittleEndian.Uint32(e), nil
			}
		case kind&boltBranch != 0:
			from, ks := at+int(binary.LittleEndian.Uint32(e)), int(binary.LittleEndian.Uint32(e[4:]))
			if from+ks > len(page) {
				return nil, 0, errBolt
			}
			// The child whose first key is the last one not after the key.
			if i == 0 || string(page[from:from+ks]) <= key {
				child, found = binary.LittleEndian.Uint64(e[8:]), true
			}
		}
	}
	if !found {
		return nil, 0, nil
	}
	next, err := b.page(child)
	if err != nil {
		return nil, 0, err
	}
	return b.get(next, key, depth+1)
}
