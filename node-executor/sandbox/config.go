package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
)

// maxConfigSize bounds a configuration file.
const maxConfigSize = 1 << 20

// What follows when PID 1 was killed from outside, by a power cut or otherwise.
const (
	// OnKillBoot boots again, as after a loss of power.
	OnKillBoot = "boot"
	// OnKillExit ends the machine.
	OnKillExit = "exit"
)

// Config describes a machine. Every path is absolute and on the host.
type Config struct {
	// Name tells machines apart in logs and cgroups.
	Name string `json:"name"`
	// Sysroot is the machine's disk: the directory that holds ostree/ and boot/.
	Sysroot string `json:"sysroot"`
	// State is a directory for boots.ndjson and the machine's lock; it is created when missing.
	State string `json:"state"`
	// Hostname is the kernel's host name at boot; systemd sets another where /etc/hostname has one.
	Hostname string `json:"hostname"`
	// Binds are the machine's devices: directories and files that every boot has, whatever root runs.
	Binds []Bind `json:"binds,omitempty"`
	// Console is the file that the console is appended to.
	Console string `json:"console"`
	// Socket is the Unix socket for control; its path must fit into 107 bytes.
	Socket string `json:"socket"`
	// OnKill is OnKillBoot, also when empty, or OnKillExit.
	OnKill string `json:"onKill,omitempty"`
	// MaxBoots ends the machine with an error rather than boot once more; 0 means no limit.
	MaxBoots int `json:"maxBoots,omitempty"`
}

// Bind is a directory or file of the host that appears in the node.
type Bind struct {
	Source string `json:"source"`
	// Target is created when it is missing and its file system can be written to, as below /var.
	Target   string `json:"target"`
	ReadOnly bool   `json:"readonly,omitempty"`
}

var machineName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// ReadConfig reads and validates a configuration; unknown fields are errors.
func ReadConfig(name string) (Config, error) {
	file, err := os.Open(name)
	if err != nil {
		return Config{}, fmt.Errorf("cannot open configuration: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxConfigSize+1))
	if err != nil {
		return Config{}, fmt.Errorf("cannot read configuration: %w", err)
	}
	if len(data) > maxConfigSize {
		return Config{}, fmt.Errorf("cannot read configuration: more than %d bytes", maxConfigSize)
	}
	return ParseConfig(data)
}

// ParseConfig parses and validates a configuration and reports all problems at once.
func ParseConfig(data []byte) (Config, error) {
	var c Config
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return Config{}, fmt.Errorf("cannot parse configuration: %w", err)
	}
	if c.OnKill == "" {
		c.OnKill = OnKillBoot
	}
	if err := c.validate(); err != nil {
		return Config{}, fmt.Errorf("cannot use configuration: %w", err)
	}
	return c, nil
}

func (c Config) validate() error {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !machineName.MatchString(c.Name) {
		problem("name %q is not a DNS label of at most 32 characters", c.Name)
	}
	if c.Hostname == "" || len(c.Hostname) > 64 {
		problem("hostname %q is not of 1 to 64 characters", c.Hostname)
	}
	if c.OnKill != OnKillBoot && c.OnKill != OnKillExit {
		problem("onKill is %q, not %q or %q", c.OnKill, OnKillBoot, OnKillExit)
	}
	if c.MaxBoots < 0 {
		problem("maxBoots is negative")
	}
	for field, name := range map[string]string{"sysroot": c.Sysroot, "state": c.State, "console": c.Console, "socket": c.Socket} {
		if !filepath.IsAbs(name) {
			problem("%s %q is not an absolute path", field, name)
		}
	}
	for _, bind := range c.Binds {
		if !filepath.IsAbs(bind.Source) || !filepath.IsAbs(bind.Target) {
			problem("bind of %q at %q: not absolute paths", bind.Source, bind.Target)
		}
	}
	return errors.Join(problems...)
}
