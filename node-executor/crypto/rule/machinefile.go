package rule

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/jsonfield"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// machineFile is a file of the node as the machine config operator knows it: in every MachineConfig, rendered or not, in
// the copies that its daemon keeps on disk, and in the ignition configuration that it serves. Where they differ from
// each other or from the file itself, the daemon declares the node degraded or drains it.
func machineFile(name string, content []byte) Place {
	return Place{
		Applies: either(keys("machineconfiguration.openshift.io/machineconfigs/*"),
			paths("/etc/machine-config-daemon/currentconfig", "/etc/mcs-machine-config-content.json")),
		set: func(doc []byte) ([]byte, bool, error) {
			if !bytes.Contains(doc, []byte(name)) {
				return doc, false, nil
			}
			return setMachineFile(doc, name, content)
		},
	}
}

// setMachineFile changes the content of the storage files of that path.
func setMachineFile(doc []byte, name string, content []byte) (after []byte, found bool, err error) {
	fields, err := jsonfield.Parse(doc)
	if err != nil {
		return nil, false, err
	}
	var edits []splice.Edit
	for pointer, f := range fields {
		file, isPath := strings.CutSuffix(pointer, "/path")
		source := fields[file+"/contents/source"]
		if !isPath || f.Text != name || !source.IsText {
			continue
		}
		found = true
		now, err := crawl.ParseDataURL(source.Text, fields[file+"/contents/compression"].Text == "gzip")
		if err != nil {
			return nil, false, fmt.Errorf("cannot read the content of %s: %w", name, err)
		}
		if bytes.Equal(now.Content, content) {
			continue // perhaps written in another way than we would
		}
		renewed, err := now.With(content)
		if err != nil {
			return nil, false, err
		}
		edit, err := fields.Set(doc, source.Pointer, renewed)
		if err != nil {
			return nil, false, err
		}
		edits = append(edits, edit...)
	}
	after, err = splice.Apply(doc, edits)
	return after, found, err
}
