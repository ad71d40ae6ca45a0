package staticpod

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	firstBackoff = 200 * time.Millisecond
	maxBackoff   = 5 * time.Second
	// settled is how long a process must have run for its next end to be met
	// with the first back-off again.
	settled = 10 * time.Second
	// gracePeriod lies between SIGTERM and SIGKILL.
	gracePeriod = 5 * time.Second
	// probeInterval is how often the port of another pod's probe is tried.
	probeInterval = 50 * time.Millisecond
)

// containerEnv is what a container runtime would set before the manifest's own.
var containerEnv = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}

// run keeps the processes of a pod running until ctx ends.
func (n *node) run(ctx context.Context, manifest *corev1.Pod) {
	output, err := os.OpenFile(filepath.Join(n.Logs, manifest.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		n.Log.Error("cannot open the pod's log", "pod", manifest.Name, "err", err)
		return
	}
	defer func() { _ = output.Close() }()
	var containers sync.WaitGroup
	for _, container := range manifest.Spec.Containers {
		containers.Go(func() { n.keepRunning(ctx, manifest, container, output) })
	}
	containers.Wait()
}

// keepRunning runs one container's process, again and again, until ctx ends.
func (n *node) keepRunning(ctx context.Context, manifest *corev1.Pod, container corev1.Container, output *os.File) {
	log := n.Log.With("pod", manifest.Name, "container", container.Name)
	for backoff := firstBackoff; ; backoff = min(2*backoff, maxBackoff) {
		if !n.awaitPod(ctx, manifest) {
			return
		}
		log.Info("starting", "image", container.Image)
		start := time.Now()
		err := n.execute(ctx, container, output)
		if ctx.Err() != nil {
			log.Info("ended", "reason", "pod stopped")
			return
		}
		if time.Since(start) > settled {
			backoff = firstBackoff
		}
		log.Warn("ended", "reason", ending(err), "restart_in", backoff)
		if !pause(ctx, backoff) {
			return
		}
	}
}

// ending says why a process ended; no error is an end too.
func ending(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// execute runs one container's process in a PID namespace of its own, so that
// whatever it starts ends with it, and returns when it has ended.
func (n *node) execute(ctx context.Context, container corev1.Container, output *os.File) error {
	// The kernel sends the parent-death signal when the thread that forked ends,
	// which need not be when this process ends. So the thread is kept.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	image, err := ImageFile(container.Image)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(n.Images, image))
	if len(container.Command) > 0 {
		cmd.Args = slices.Clone(container.Command)
	}
	cmd.Args = append(cmd.Args, container.Args...)
	cmd.Env = slices.Clone(containerEnv)
	for _, env := range container.Env {
		cmd.Env = append(cmd.Env, env.Name+"="+env.Value)
	}
	cmd.Dir = container.WorkingDir
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = gracePeriod
	return cmd.Run()
}

// awaitPod waits until the pod that AfterAnnotation names answers, and reports
// whether it does: false means that ctx ended.
func (n *node) awaitPod(ctx context.Context, manifest *corev1.Pod) bool {
	after := manifest.Annotations[AfterAnnotation]
	if after == "" {
		return ctx.Err() == nil
	}
	for said := false; ; said = true {
		problem := n.answers(ctx, after)
		if problem == nil {
			return ctx.Err() == nil
		}
		if !said {
			n.Log.Info("waiting", "pod", manifest.Name, "after", after, "reason", problem)
		}
		if !pause(ctx, probeInterval) {
			return false
		}
	}
}

// answers returns why the named pod does not answer, or nil if it does.
func (n *node) answers(ctx context.Context, name string) error {
	address, ok := n.probe(name)
	switch {
	case !ok:
		return fmt.Errorf("no pod %s", name)
	case address == "":
		return fmt.Errorf("pod %s has no startupProbe.tcpSocket with a numeric port", name)
	}
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// pause waits for d and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
