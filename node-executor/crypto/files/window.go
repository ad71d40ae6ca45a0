package files

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"os"
)

// Bounds of the pieces in which a large file is shown.
const (
	windowSize    = 1 << 20
	windowOverlap = 1 << 10 // bytes, longer than anything that is searched for in them
)

// Windows shows a file of a root piece by piece, one overlapping the next by 1 KiB. It opens all anew: a visitor may keep it
// for later. A piece is the visitor's until the next one.
func Windows(root, name string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		dir, err := os.OpenRoot(root)
		if err != nil {
			yield(nil, err)
			return
		}
		defer dir.Close()
		f, _, err := place{dir, name}.open()
		if err != nil {
			yield(nil, err)
			return
		}
		defer f.Close()
		buffer, kept := make([]byte, windowSize), 0
		for {
			n, err := io.ReadFull(f, buffer[kept:])
			ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
			if err != nil && !ended {
				yield(nil, err)
				return
			}
			if !yield(buffer[:kept+n], nil) || ended {
				return
			}
			kept = copy(buffer, buffer[len(buffer)-windowOverlap:])
		}
	}
}

// keyMarks are signs of a private key in text and in base64 at each of its three alignments.
var keyMarks = [][]byte{
	[]byte("PRIVATE KEY-----"), []byte("UFJJVkFURSBLRVkt"), []byte("BSSVZBVEUgS0VZLS"), []byte("QUklWQVRFIEtFWS0t"),
}

func mentionsKey(windows iter.Seq2[[]byte, error]) (bool, error) {
	for window, err := range windows {
		if err != nil {
			return false, err
		}
		for _, mark := range keyMarks {
			if bytes.Contains(window, mark) {
				return true, nil
			}
		}
	}
	return false, nil
}
