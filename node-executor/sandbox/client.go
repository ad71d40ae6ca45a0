package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxResponse bounds an answer: two outputs in base64 and a little more.
	maxResponse = 2*maxOutput*4/3 + 1<<20
	// connectPoll is how often a client tries to reach a machine that is only just being started.
	connectPoll = 20 * time.Millisecond
)

// ErrDown says that no root is running on the machine at the moment: it is between two boots or in its boot loader.
var ErrDown = errors.New("the node is down")

// Exec runs a command in the node's namespaces, with its program looked up in the node's root. The code is the
// command's exit code, or 128 and the number of the signal that ended it, as when the node went down meanwhile.
// Errors are those of the machine, [ErrDown] among them.
func Exec(ctx context.Context, socket string, argv []string, stdin []byte) (stdout, stderr []byte, code int, err error) {
	var r result
	if err := call(ctx, socket, http.MethodPost, "/exec", command{Argv: argv, Stdin: stdin}, &r); err != nil {
		return nil, nil, 0, fmt.Errorf("cannot execute %s: %w", strings.Join(argv, " "), err)
	}
	return r.Stdout, r.Stderr, r.Code, nil
}

// PowerCut ends the running boot at once, as a loss of power does. It does not wait for the end.
func PowerCut(ctx context.Context, socket string) error {
	if err := call(ctx, socket, http.MethodPost, "/power-cut", nil, nil); err != nil {
		return fmt.Errorf("cannot cut power: %w", err)
	}
	return nil
}

// State returns what the machine is doing.
func State(ctx context.Context, socket string) (Status, error) {
	var status Status
	if err := call(ctx, socket, http.MethodGet, "/state", nil, &status); err != nil {
		return Status{}, fmt.Errorf("cannot get state: %w", err)
	}
	return status, nil
}

// WaitReady waits until the boot with this number or a later one has reached its default target. The machine's
// program may have been started only now: it waits for the socket, too, as long as the context allows.
func WaitReady(ctx context.Context, socket string, boot int) (Status, error) {
	ticker := time.NewTicker(connectPoll)
	defer ticker.Stop()
	for {
		var status Status
		err := call(ctx, socket, http.MethodGet, "/state?ready="+strconv.Itoa(boot), nil, &status)
		if err == nil {
			return status, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ECONNREFUSED) {
			return Status{}, fmt.Errorf("cannot wait for boot %d: %w", boot, err)
		}
		select {
		case <-ctx.Done():
			return Status{}, fmt.Errorf("cannot wait for boot %d: %w", boot, errors.Join(ctx.Err(), err))
		case <-ticker.C:
		}
	}
}

// call makes one request on a connection of its own.
func call(ctx context.Context, socket, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://machine"+path, body)
	if err != nil {
		return err
	}
	var dialer net.Dialer
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxResponse))
	if err != nil {
		return err
	}
	switch {
	case response.StatusCode == http.StatusServiceUnavailable:
		return ErrDown
	case response.StatusCode >= http.StatusBadRequest:
		return errors.New(strings.TrimSpace(string(data)))
	case out == nil:
		return nil
	}
	return json.Unmarshal(data, out)
}
