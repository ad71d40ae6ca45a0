package etcd

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
)

// A backend is a file of bbolt's, format 2, which has been the same since 2014. It is read here without bbolt, which would
// lock it against an etcd and map it into memory as a whole.
const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	boltPageHeader = 16
	boltBranch     = 0x01
	boltLeaf       = 0x02
	boltBucket     = 0x01 // element flag
	boltMetaSum    = 56   // offset of a meta's checksum within it
	boltNoFreelist = 1<<64 - 1
	boltElement    = 16 // bytes of a page's element header
	boltMaxDepth   = 32
	boltMaxPage    = 64 << 10
	boltMaxRun     = 64 << 20 // bytes of a page with its overflow
)

var errBolt = errors.New("not a backend of etcd, or damaged")

// bolt is the database as the newest complete transaction left it. Pages are counted from the file's beginning.
type bolt struct {
	file     io.ReaderAt
	pageSize uint64 // bytes
	root     uint64 // page of the bucket of buckets
	freelist uint64 // page of the list of free pages, or boltNoFreelist
	end      uint64 // the first page behind all
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
			best = &bolt{
				file: file, pageSize: size, root: binary.LittleEndian.Uint64(meta[16:]),
				freelist: binary.LittleEndian.Uint64(meta[32:]), end: binary.LittleEndian.Uint64(meta[40:]),
			}
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

// used tells of each page whether the database needs it: the two metas, the list of free pages, and the trees of all
// buckets. A database of which a page has two uses is damaged.
func (b *bolt) used() ([]bool, error) {
	info := make([]byte, boltPageHeader)
	if _, err := b.file.ReadAt(info, int64((b.end-1)*b.pageSize)); b.end < 2 || err != nil {
		return nil, errBolt // it claims to be longer than the file
	}
	w := boltWalk{bolt: b, used: make([]bool, b.end)}
	w.used[0], w.used[1] = true, true
	if b.freelist != boltNoFreelist {
		if _, err := w.take(b.freelist, info); err != nil {
			return nil, err
		}
	}
	return w.used, w.tree(b.root, 0)
}

type boltWalk struct {
	*bolt
	used []bool
}

// take reads the header of a page and marks the page, with what it overflows into, as used.
func (w boltWalk) take(id uint64, header []byte) (offset int64, err error) {
	if id >= w.end {
		return 0, errBolt
	}
	offset = int64(id * w.pageSize)
	if _, err := w.file.ReadAt(header, offset); err != nil {
		return 0, errBolt
	}
	behind := id + uint64(binary.LittleEndian.Uint32(header[12:])) + 1
	if binary.LittleEndian.Uint64(header) != id || behind > w.end {
		return 0, errBolt
	}
	for ; id < behind; id++ {
		if w.used[id] {
			return 0, errBolt
		}
		w.used[id] = true
	}
	return offset, nil
}

// tree marks a page and all below it. Of a page only the headers of its elements are read, not what it holds.
func (w boltWalk) tree(id uint64, depth int) error {
	header := make([]byte, boltPageHeader)
	offset, err := w.take(id, header)
	if err != nil || depth > boltMaxDepth {
		return errors.Join(err, errBolt)
	}
	elements := make([]byte, int(binary.LittleEndian.Uint16(header[10:]))*boltElement)
	if _, err := w.file.ReadAt(elements, offset+boltPageHeader); err != nil {
		return errBolt
	}
	kind := binary.LittleEndian.Uint16(header[8:])
	if kind != boltLeaf && kind != boltBranch {
		return errBolt
	}
	for at := 0; at < len(elements); at += boltElement {
		e := elements[at:]
		child := binary.LittleEndian.Uint64(e[8:])
		if kind == boltLeaf {
			if binary.LittleEndian.Uint32(e)&boltBucket == 0 {
				continue
			}
			root := make([]byte, 8) // the value begins with the bucket's page, 0 for one that stands within its parent
			key := int64(binary.LittleEndian.Uint32(e[4:])) + int64(binary.LittleEndian.Uint32(e[8:]))
			if _, err := w.file.ReadAt(root, offset+boltPageHeader+int64(at)+key); err != nil {
				return errBolt
			}
			if child = binary.LittleEndian.Uint64(root); child == 0 {
				continue
			}
		}
		if err := w.tree(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}
