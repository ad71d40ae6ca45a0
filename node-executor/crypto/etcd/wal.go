package etcd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// The write-ahead log is files of frames, in the order of their names. A frame is a record behind its length, filled up
// to a multiple of eight bytes; a length of zero is space that nobody has written to yet. The sum of a record covers all
// records before it as well, so it is carried from file to file. This has been the same since etcd 2.1, whatever else a
// minor version changed, and so a log is read and written here without knowing what its entries say.
const (
	recordMetadata = 1 // of member and cluster
	recordEntry    = 2
	recordState    = 3 // of the vote
	recordSum      = 4 // first in a file: the sum so far
	recordSnapshot = 5

	frameHeader  = 8
	frameAlign   = 8
	framePadding = 0x80 // flag in the length's highest byte, whose lowest bits then count the filling
	lengthMask   = 1<<56 - 1
)

var (
	errLog     = errors.New("not a log of etcd, or damaged")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// record is one record of a log; data is a message of etcd's, as it is.
type record struct {
	kind uint64
	data []byte
}

// number returns a field of the record's message that is a number; 0 when it is absent.
func (r record) number(field protowire.Number) (uint64, error) {
	var found uint64
	err := eachField(r.data, func(n protowire.Number, value uint64, _ []byte) {
		if n == field {
			found = value
		}
	})
	return found, err
}

// eachField passes the fields of a message that are numbers or bytes.
func eachField(message []byte, visit func(n protowire.Number, value uint64, text []byte)) error {
	for len(message) > 0 {
		n, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return errLog
		}
		var value uint64
		var text []byte
		message = message[size:]
		switch kind {
		case protowire.VarintType:
			value, size = protowire.ConsumeVarint(message)
		case protowire.BytesType:
			text, size = protowire.ConsumeBytes(message)
		default:
			return errLog
		}
		if size < 0 {
			return errLog
		}
		visit(n, value, text)
		message = message[size:]
	}
	return nil
}

// readLog visits the records of a log's files, which stand in order below the root, and returns the sum over all. A
// record's data is the visitor's for the time of the call.
func readLog(root *os.Root, names []string, visit func(record) error) (sum uint32, err error) {
	for _, name := range names {
		if sum, err = readLogFile(root, name, sum, visit); err != nil {
			return 0, fmt.Errorf("cannot read log %s: %w", name, err)
		}
	}
	return sum, nil
}

func readLogFile(root *os.Root, name string, sum uint32, visit func(record) error) (uint32, error) {
	f, err := root.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	in := bufio.NewReaderSize(f, 1<<20)
	left := info.Size()
	var frame []byte
	for {
		var header [frameHeader]byte
		if _, err := io.ReadFull(in, header[:]); errors.Is(err, io.EOF) {
			return sum, nil
		} else if err != nil {
			return 0, errLog
		}
		field := binary.LittleEndian.Uint64(header[:])
		if field == 0 {
			return sum, nil
		}
		size, filling := field&lengthMask, uint64(0)
		if top := byte(field >> 56); top&framePadding != 0 {
			filling = uint64(top & (frameAlign - 1))
		}
		left -= frameHeader
		if left < 0 || size+filling > uint64(left) {
			return 0, errLog
		}
		left -= int64(size + filling)
		frame = slices.Grow(frame[:0], int(size+filling))[:size+filling]
		if _, err := io.ReadFull(in, frame); err != nil {
			return 0, errLog
		}
		if sum, err = visitFrame(frame[:size], sum, visit); err != nil {
			return 0, err
		}
	}
}

func visitFrame(frame []byte, sum uint32, visit func(record) error) (uint32, error) {
	var r record
	var claimed uint64
	err := eachField(frame, func(n protowire.Number, value uint64, text []byte) {
		switch n {
		case 1:
			r.kind = value
		case 2:
			claimed = value
		case 3:
			r.data = text
		}
	})
	if err != nil {
		return 0, err
	}
	if r.kind == recordSum && sum == 0 { // the files before it are gone
		sum = uint32(claimed)
	}
	sum = crc32.Update(sum, castagnoli, r.data)
	if uint64(sum) != claimed {
		return 0, errLog
	}
	return sum, visit(r)
}

// logWriter writes a file of a log.
type logWriter struct {
	out io.Writer
	sum uint32 // over all records so far, those of earlier files included
}

func (w *logWriter) add(kind uint64, data []byte) error {
	w.sum = crc32.Update(w.sum, castagnoli, data)
	frame := make([]byte, frameHeader, frameHeader+len(data)+32)
	frame = protowire.AppendVarint(protowire.AppendTag(frame, 1, protowire.VarintType), kind)
	frame = protowire.AppendVarint(protowire.AppendTag(frame, 2, protowire.VarintType), uint64(w.sum))
	if data != nil {
		frame = protowire.AppendBytes(protowire.AppendTag(frame, 3, protowire.BytesType), data)
	}
	size := uint64(len(frame) - frameHeader)
	if filling := -len(frame) & (frameAlign - 1); filling > 0 {
		frame = append(frame, make([]byte, filling)...)
		size |= uint64(framePadding|filling) << 56
	}
	binary.LittleEndian.PutUint64(frame, size)
	_, err := w.out.Write(frame)
	return err
}
