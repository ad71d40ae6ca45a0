package host

import (
	"bufio"
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Deployment is one bootable version of the operating system, as libostree and the boot loader's entries show it.
type Deployment struct {
	Stateroot string
	Commit    string // 64 hex digits
	Serial    int    // tells deployments of one commit in one stateroot apart
	Index     int    // position when it was read; 0 is the default. It shifts: never keep it
	Booted    bool
	Staged    bool   // not in the boot loader yet; finalised when the booted system shuts down
	Pinned    bool   // never pruned by itself; undeploying it is still allowed
	Version   string // of the commit's metadata; may be empty
	Origin    string // refspec; may be empty
	Path      string // absolute path of the deployment's root
	Boot      BootEntry
}

// ID is the deployment's name in rpm-ostree's notation: STATEROOT-COMMIT.SERIAL.
func (d Deployment) ID() string { return fmt.Sprintf("%s-%s.%d", d.Stateroot, d.Commit, d.Serial) }

// Is reports whether d is the deployment with that stateroot, commit and serial.
func (d Deployment) Is(stateroot, commit string, serial int) bool {
	return d.Stateroot == stateroot && d.Commit == commit && d.Serial == serial
}

// deploymentLine matches the first line of a deployment, as in
// "* rhcos 0123…cdef.0 (pending)". Lines with an origin may also hold a commit, so the whole line is matched.
var deploymentLine = regexp.MustCompile(`^([* ]) ([A-Za-z0-9_][A-Za-z0-9_.+~-]*) ([0-9a-f]{64})\.([0-9]+)((?: \([a-z -]+\))*)$`)

// ParseStatus reads the text of `ostree admin status` (2022.7 to 2025.2). Path and Boot are not part of it. Lines that
// it does not know are ignored, for every release adds some.
func ParseStatus(text []byte) ([]Deployment, error) {
	var list []Deployment
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if m := deploymentLine.FindStringSubmatch(line); m != nil {
			serial, err := strconv.Atoi(m[4])
			if err != nil {
				return nil, fmt.Errorf("cannot parse ostree status line %q: %w", line, err)
			}
			list = append(list, Deployment{
				Booted: m[1] == "*", Stateroot: m[2], Commit: m[3], Serial: serial,
				Staged: strings.Contains(m[5], "(staged)"), Index: len(list),
			})
			continue
		}
		if line == "No deployments." || line == "" {
			continue
		}
		if !strings.HasPrefix(line, "    ") || len(list) == 0 {
			return nil, fmt.Errorf("cannot parse ostree status line %q", line)
		}
		list[len(list)-1].detail(strings.TrimSpace(line))
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cannot parse ostree status: %w", err)
	}
	return list, nil
}

func (d *Deployment) detail(line string) {
	key, value, _ := strings.Cut(line, ": ")
	switch key {
	case "Version":
		d.Version = value
	case "Pinned":
		d.Pinned = value == "yes"
	case "origin refspec":
		d.Origin = value
	}
}

// Change is one difference between a deployment's /etc and the /etc that its commit came with.
type Change struct {
	Kind byte   // 'A' added, 'D' deleted, 'M' modified
	Path string // relative to /etc
}

// ParseConfigDiff reads the text of `ostree admin config-diff`.
func ParseConfigDiff(text []byte) ([]Change, error) {
	var list []Change
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		kind, path, ok := strings.Cut(lines.Text(), "    ")
		if !ok || len(kind) != 1 || !strings.Contains("ADM", kind) || path == "" {
			return nil, fmt.Errorf("cannot parse ostree config-diff line %q", lines.Text())
		}
		list = append(list, Change{Kind: kind[0], Path: path})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cannot parse ostree config-diff: %w", err)
	}
	return list, nil
}
