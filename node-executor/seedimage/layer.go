package seedimage

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/seed"
	"github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/node-executor/seedimage/archive"
)

const (
	maxSmall     = 16 << 20  // of each small file of a seed
	maxEtc       = 256 << 20 // of etc.tgz
	stallTime    = 2 * time.Minute
	progressStep = 4 << 20 // bytes between two reports
)

// download reads every layer once and unpacks what it holds as it passes.
func (i *importer) download(ctx context.Context) error {
	for _, layer := range i.remote.Layers {
		if err := i.layer(ctx, layer); err != nil {
			return fmt.Errorf("cannot read layer %s: %w", layer.Digest, err)
		}
	}
	for _, name := range []string{
		seed.FileContainers, seed.FileEtcDeletions, seed.FileEtc, seed.FileClusterInfo, seed.FileMachineConfig,
		seed.FileOstree, seed.FileRPMOstree, seed.FileVar,
	} {
		if !i.seen[name] {
			return &Error{events.ReasonSeedFormat, fmt.Errorf("the seed lacks %s", name)}
		}
	}
	info, err := seed.ParseClusterInfo(i.small[seed.FileClusterInfo])
	if err != nil {
		return &Error{events.ReasonSeedFormat, fmt.Errorf("%s %w", seed.FileClusterInfo, err)}
	}
	if info.Version != i.Version {
		return &Error{events.ReasonSeedVersionMismatch, fmt.Errorf("the seed's %s names version %s, not %s",
			seed.FileClusterInfo, info.Version, i.Version)}
	}
	return nil
}

// layer reads one blob to its end, for only then its digest is known.
func (i *importer) layer(ctx context.Context, info types.BlobInfo) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	blob, _, err := i.remote.Source.GetBlob(ctx, info, none.NoCache)
	if err != nil {
		return unreachable(err)
	}
	defer blob.Close()
	in := &meter{importer: i, blob: blob, stall: time.AfterFunc(stallTime, func() { cancel(errStalled) }), ctx: ctx}
	defer in.stall.Stop()
	verifier := info.Digest.Verifier()
	raw := bufio.NewReaderSize(io.TeeReader(in, verifier), 1<<20)
	if err := i.unpackLayer(ctx, raw); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return err
	}
	if !verifier.Verified() {
		return &Error{events.ReasonSeedCorrupt, errors.New("its content does not match its digest")}
	}
	return nil
}

func (i *importer) unpackLayer(ctx context.Context, raw *bufio.Reader) error {
	plain, err := decompress(raw)
	if err != nil {
		return damage(err)
	}
	defer plain.Close()
	checked := checkedReader{plain}
	if err := i.files(ctx, checked); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, checked) // the checksum of the compressed stream comes last
	return err
}

// decompress recognises gzip and zstd by their first bytes; anything else is read as it is.
func decompress(raw *bufio.Reader) (io.ReadCloser, error) {
	head, err := raw.Peek(4)
	if err != nil {
		return nil, err
	}
	switch {
	case head[0] == 0x1f && head[1] == 0x8b:
		return gzip.NewReader(raw)
	case string(head) == "\x28\xb5\x2f\xfd":
		d, err := zstd.NewReader(raw, zstd.WithDecoderMaxMemory(256<<20), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(raw), nil
}

// files takes the seed's files out of a layer.
func (i *importer) files(ctx context.Context, r io.Reader) error {
	in := tar.NewReader(r)
	for {
		hdr, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return archive.Damaged(err)
		}
		name := strings.TrimPrefix(path.Clean("/"+hdr.Name), "/")
		if hdr.Typeflag != tar.TypeReg || strings.Contains(name, "/") {
			continue
		}
		if i.seen[name] {
			return &Error{events.ReasonSeedFormat, fmt.Errorf("the seed holds %s twice", name)}
		}
		i.seen[name] = true
		if err := i.file(ctx, name, in); err != nil {
			return fmt.Errorf("cannot unpack %s: %w", name, err)
		}
	}
}

func (i *importer) file(ctx context.Context, name string, content io.Reader) error {
	switch {
	case name == seed.FileOstree:
		return i.unpackGzip(ctx, content, i.repo(), archive.UnpackOptions{Accept: i.ofRepository})
	case name == seed.FileVar:
		dir := filepath.Join(i.Host.Stateroot(i.Stateroot), "var")
		return i.unpackGzip(ctx, content, dir, archive.UnpackOptions{Prefix: "var"})
	case name == seed.FileEtc: // its place does not exist before the deployment
		return spool(filepath.Join(i.scratch(), name), content)
	case isSmall(name):
		data, err := io.ReadAll(io.LimitReader(content, maxSmall+1))
		if err == nil && len(data) > maxSmall {
			err = &Error{events.ReasonSeedFormat, fmt.Errorf("it is larger than %d MiB", maxSmall>>20)}
		}
		i.small[name] = data
		return err
	}
	return nil // such as the lifecycle-agent's own program
}

// ofRepository accepts the objects and the configuration of an ostree repository. The seed's refs would repoint those of
// the node. Objects are files such as objects/01/23….file.
func (i *importer) ofRepository(name string) bool {
	if !strings.HasPrefix(name, "objects/") {
		return name == "config" || name == "objects"
	}
	if path.Ext(name) != "" {
		i.result.Objects++
	}
	return true
}

func isSmall(name string) bool {
	switch name {
	case seed.FileContainers, seed.FileEtcDeletions, seed.FileClusterInfo, seed.FileMachineConfig, seed.FileRPMOstree:
		return true
	}
	return strings.HasPrefix(name, "ostree-") && strings.HasSuffix(name, ".origin")
}

// unpackGzip unpacks a compressed archive as far as the disk can spare.
func (i *importer) unpackGzip(ctx context.Context, r io.Reader, dir string, o archive.UnpackOptions) error {
	plain, err := gzip.NewReader(r)
	if err != nil {
		return damage(err)
	}
	defer plain.Close()
	o.MaxBytes = i.budget
	checked := checkedReader{plain}
	stats, err := archive.Unpack(ctx, checked, dir, o)
	i.budget = max(i.budget-stats.Bytes, 1)
	if err == nil {
		_, err = io.Copy(io.Discard, checked)
	}
	return err
}

func spool(path string, content io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(content, maxEtc+1))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil && n > maxEtc {
		err = &Error{events.ReasonSeedFormat, fmt.Errorf("it is larger than %d MiB", maxEtc>>20)}
	}
	return err
}

var errStalled = fmt.Errorf("no data for %v", stallTime)

// meter counts what is read from the registry, marks its errors as the registry's, and gives up on a stream that stalls.
type meter struct {
	*importer
	ctx      context.Context
	blob     io.Reader
	stall    *time.Timer
	reported int64
}

func (m *meter) Read(p []byte) (int, error) {
	m.stall.Reset(stallTime)
	n, err := m.blob.Read(p)
	m.stall.Stop()
	m.result.Bytes += int64(n)
	if m.result.Bytes-m.reported >= progressStep || errors.Is(err, io.EOF) {
		m.reported = m.result.Bytes
		m.Progress(Progress{Step: "download", Done: m.result.Bytes, Total: m.remote.Bytes})
	}
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(m.ctx); cause != nil {
			err = cause
		}
		err = unreachable(err)
	}
	return n, err
}

// transferErrors are what a transfer may end with, besides the end of its content.
var transferErrors = []error{
	context.Canceled, registry.ErrUnauthorized, registry.ErrNotFound, registry.ErrUnreachable,
}

func isTransfer(err error) bool {
	return slices.ContainsFunc(transferErrors, func(known error) bool { return errors.Is(err, known) })
}

// unreachable marks an error of a transfer, unless the caller ended it or the registry said what is wrong. The cause
// becomes text: an unexpected end of the transfer is no unexpected end of the archive in it.
func unreachable(err error) error {
	if classified := registry.Classify(err); isTransfer(classified) && !errors.Is(classified, registry.ErrUnreachable) {
		return classified
	}
	return fmt.Errorf("%w: %v", registry.ErrUnreachable, err)
}

// damage marks an error of a decompressor, unless the transfer below it caused it.
func damage(err error) error {
	if errors.Is(err, archive.ErrDamaged) || isTransfer(err) {
		return err
	}
	return fmt.Errorf("%w: %w", archive.ErrDamaged, err)
}

// checkedReader is a decompressor whose errors say that its source is damaged.
type checkedReader struct{ plain io.Reader }

func (c checkedReader) Read(p []byte) (int, error) {
	n, err := c.plain.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = damage(err)
	}
	return n, err
}
