package crawl

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// A database of Open vSwitch or OVN is a log: records of a line (OVSDB, a magic word, the length in bytes, the SHA-1) and that much
// JSON (ovsdb(5)). A server drops everything from the first record on whose sum is wrong.
var ovsdbMagic = []byte("OVSDB ")

type ovsdbRecord struct {
	start, body, end int
	word             string
}

// ovsdb opens the records of a database; a changed one gets a new length and sum.
func (c crawler) ovsdb(doc []byte, path string, depth int) ([]splice.Edit, error) {
	records, ok := ovsdbRecords(doc)
	if !ok {
		c.finding(Malformed, path, "OVSDB", mentionsMaterial(doc))
		return nil, nil
	}
	var all []splice.Edit
	for _, r := range records {
		content := doc[r.body:r.end]
		edits, err := c.inner(content, fmt.Sprintf("%s/ovsdb@%d", path, r.start), depth, splice.Whole(r.start, r.end, content, func(b []byte) ([]byte, error) {
			return append(fmt.Appendf(nil, "OVSDB %s %d %x\n", r.word, len(b), sha1.Sum(b)), b...), nil
		}))
		if err != nil {
			return nil, err
		}
		all = append(all, edits...)
	}
	return all, nil
}

func ovsdbRecords(doc []byte) (records []ovsdbRecord, ok bool) {
	const longestLine = 128
	for at := 0; at < len(doc); {
		line, _, ended := bytes.Cut(doc[at:min(len(doc), at+longestLine)], []byte("\n"))
		fields := bytes.Split(line, []byte(" "))
		if !ended || len(fields) != 4 || !bytes.HasPrefix(line, ovsdbMagic) {
			return nil, false
		}
		length, err := strconv.Atoi(string(fields[2]))
		r := ovsdbRecord{start: at, body: at + len(line) + 1, word: string(fields[1])}
		if err != nil || length < 0 || length > len(doc)-r.body {
			return nil, false
		}
		r.end = r.body + length
		if sum := sha1.Sum(doc[r.body:r.end]); hex.EncodeToString(sum[:]) != string(fields[3]) {
			return nil, false
		}
		records, at = append(records, r), r.end
	}
	return records, true
}
