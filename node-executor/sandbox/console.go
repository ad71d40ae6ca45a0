package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxConsole bounds what one boot may write to the console file; the rest of that boot is dropped.
	maxConsole = 16 << 20
	// hangupPause is how long the reader of a hung-up terminal waits before it looks again: a program on the node
	// may hang up its console (vhangup) and others go on to use it.
	hangupPause = 50 * time.Millisecond
)

// console is the machine's serial line: a pseudoterminal whose other end is copied to a file.
type console struct {
	master, slave *os.File
	done          chan struct{}
	copying       sync.WaitGroup
}

// openConsole opens a new line for one boot and starts to copy it to file.
func openConsole(file io.Writer) (*console, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open terminal: %w", err)
	}
	slave, err := openSlave(master)
	if err != nil {
		_ = master.Close()
		return nil, fmt.Errorf("cannot open console: %w", err)
	}
	c := &console{master: master, slave: slave, done: make(chan struct{})}
	c.copying.Go(func() { c.copyTo(file) })
	return c, nil
}

// openSlave opens the terminal's other end, without echo and without translation of line ends.
func openSlave(master *os.File) (*os.File, error) {
	raw, err := master.SyscallConn()
	if err != nil {
		return nil, err
	}
	var number int
	var ioctlErr error
	err = raw.Control(func(fd uintptr) {
		if ioctlErr = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); ioctlErr == nil {
			number, ioctlErr = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err := errors.Join(err, ioctlErr); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("/dev/pts/%d", number)
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	slave := os.NewFile(uintptr(fd), name)
	mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err == nil {
		mode.Oflag &^= unix.OPOST
		mode.Lflag &^= unix.ECHO
		err = unix.IoctlSetTermios(fd, unix.TCSETS, mode)
	}
	if err != nil {
		_ = slave.Close()
		return nil, err
	}
	return slave, nil
}

// copyTo reads until the line is closed, also past the limit and after a failed write: a node must not block on its
// console.
func (c *console) copyTo(file io.Writer) {
	out := &bounded{file: file, left: maxConsole}
	buffer := make([]byte, 32<<10)
	for {
		n, err := c.master.Read(buffer)
		out.write(buffer[:n])
		if err == nil {
			continue
		}
		select {
		case <-c.done:
			c.drain(out, buffer)
			return
		case <-time.After(hangupPause):
		}
	}
}

// drain reads what is in the terminal and does not wait for more.
func (c *console) drain(out *bounded, buffer []byte) {
	raw, err := c.master.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		for {
			n, err := unix.Read(int(fd), buffer)
			if n <= 0 || err != nil {
				return
			}
			out.write(buffer[:n])
		}
	})
}

// close ends the line after what was written to it is in the file. The end of a read is forced rather than
// expected from the terminal, since hang-ups make its state hard to tell.
func (c *console) close() {
	close(c.done)
	_ = c.master.SetReadDeadline(time.Unix(1, 0))
	c.copying.Wait()
	_ = c.slave.Close()
	_ = c.master.Close()
}

// bounded passes on so many bytes and drops the rest.
type bounded struct {
	file io.Writer
	left int
}

func (b *bounded) write(data []byte) {
	data = data[:min(len(data), b.left)]
	b.left -= len(data)
	_, _ = b.file.Write(data)
}
