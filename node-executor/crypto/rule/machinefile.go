package rule

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

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
		now, err := decodeSource(source.Text, fields[file+"/contents/compression"].Text)
		if err != nil {
			return nil, false, fmt.Errorf("cannot read the content of %s: %w", name, err)
		}
		if bytes.Equal(now, content) {
			continue // perhaps written in another way than we would
		}
		renewed, err := encodeSource(source.Text, fields[file+"/contents/compression"].Text, content)
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

const (
	gzipCompression = "gzip"
	base64Mark      = ";base64"
	// maxMachineFile bounds a file in a MachineConfig, in bytes.
	maxMachineFile = 8 << 20
)

// decodeSource reads a data URL of ignition.
func decodeSource(source, compression string) ([]byte, error) {
	head, body, ok := strings.Cut(source, ",")
	if !ok || !strings.HasPrefix(head, "data:") {
		return nil, errors.New("not a data URL")
	}
	text, err := url.PathUnescape(body)
	if err != nil {
		return nil, errors.New("not a data URL")
	}
	content := []byte(text)
	if strings.HasSuffix(head, base64Mark) {
		if content, err = base64.StdEncoding.DecodeString(text); err != nil {
			return nil, errors.New("not base64")
		}
	}
	if compression != gzipCompression {
		return content, nil
	}
	reader, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	content, err = io.ReadAll(io.LimitReader(reader, maxMachineFile+1))
	if err == nil && len(content) > maxMachineFile {
		err = fmt.Errorf("larger than %d bytes", maxMachineFile)
	}
	return content, err
}

// encodeSource writes a data URL in the manner of the old one.
func encodeSource(old, compression string, content []byte) (string, error) {
	head, _, _ := strings.Cut(old, ",")
	if compression == gzipCompression {
		var out bytes.Buffer
		writer := gzip.NewWriter(&out)
		_, err := writer.Write(content)
		if err = errors.Join(err, writer.Close()); err != nil {
			return "", fmt.Errorf("cannot compress: %w", err)
		}
		content = out.Bytes()
	}
	if strings.HasSuffix(head, base64Mark) {
		return head + "," + base64.StdEncoding.EncodeToString(content), nil
	}
	return head + "," + strings.ReplaceAll(url.QueryEscape(string(content)), "+", "%20"), nil
}
