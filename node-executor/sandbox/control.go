package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

const (
	// maxRequest bounds a request, which carries a command's standard input in base64.
	maxRequest = 16 << 20
	// headerDeadline bounds how long a client may take to say what it wants.
	headerDeadline = 5 * time.Second
)

// command is a request to run something inside the node.
type command struct {
	Argv  []string `json:"argv"`
	Stdin []byte   `json:"stdin,omitempty"`
}

// serveControl answers on the control socket, with HTTP and JSON, until the returned function is called; that one
// returns when every request has been answered or given up.
func (m *machine) serveControl() (stop func(), err error) {
	// A killed supervisor leaves its socket; the machine's lock says that nobody answers on it.
	if err := os.Remove(m.config.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot remove old control socket: %w", err)
	}
	listener, err := net.Listen("unix", m.config.Socket)
	if err != nil {
		return nil, fmt.Errorf("cannot open control socket: %w", err)
	}
	if err := os.Chmod(m.config.Socket, 0o600); err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("cannot protect control socket: %w", err)
	}
	var requests, serving sync.WaitGroup
	handle := func(answer func(http.ResponseWriter, *http.Request)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			defer requests.Done()
			r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
			answer(w, r)
		})
	}
	mux := http.NewServeMux()
	mux.Handle("GET /state", handle(m.serveState))
	mux.Handle("POST /exec", handle(m.serveExec))
	mux.Handle("POST /power-cut", handle(m.servePowerCut))
	waits, giveUp := context.WithCancel(context.Background())
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: headerDeadline,
		BaseContext: func(net.Listener) context.Context { return waits },
	}
	serving.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			m.log.Error("cannot serve control socket", "error", err)
		}
	})
	return func() {
		giveUp()
		_ = server.Close()
		serving.Wait()
		requests.Wait()
	}, nil
}

// serveState answers with the machine's status; with ready=N, once boot N or a later one is ready.
func (m *machine) serveState(w http.ResponseWriter, r *http.Request) {
	wanted := 0
	if value := r.FormValue("ready"); value != "" {
		var err error
		if wanted, err = strconv.Atoi(value); err != nil {
			http.Error(w, "cannot parse number of boot: "+err.Error(), http.StatusBadRequest)
			return
		}
	}
	for {
		status, _, changed := m.get()
		if wanted == 0 || status.Ready && status.Number >= wanted {
			writeJSON(w, status)
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
	}
}

func (m *machine) serveExec(w http.ResponseWriter, r *http.Request) {
	var c command
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil || len(c.Argv) == 0 {
		http.Error(w, fmt.Sprintf("cannot parse command: %v", err), http.StatusBadRequest)
		return
	}
	_, n, _ := m.get()
	if n == nil {
		http.Error(w, ErrDown.Error(), http.StatusServiceUnavailable)
		return
	}
	got, err := n.run(r.Context(), c.Argv, c.Stdin)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, got)
}

// servePowerCut kills all processes at once. Were only PID 1 killed, the others would live on for a moment, see that
// systemd is gone, and write down what no machine without power does.
func (m *machine) servePowerCut(w http.ResponseWriter, _ *http.Request) {
	_, n, _ := m.get()
	if n == nil {
		http.Error(w, ErrDown.Error(), http.StatusServiceUnavailable)
		return
	}
	if err := n.use(func(int) error { return m.cgroup.kill() }); err != nil {
		http.Error(w, "cannot cut power: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// writeJSON answers with a value; a client that has gone does not get it.
func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}
