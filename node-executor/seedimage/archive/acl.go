package archive

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// aclRecords maps the attributes that hold access control lists to GNU tar's textual records. GNU tar --acls takes a
// list from there alone, and removes the attribute again when the record is missing.
var aclRecords = map[string]string{
	"system.posix_acl_access":  "SCHILY.acl.access",
	"system.posix_acl_default": "SCHILY.acl.default",
}

// Entry tags of linux/posix_acl.h.
var aclTags = map[uint16]string{
	0x01: "user", 0x02: "user", 0x04: "group", 0x08: "group", 0x10: "mask", 0x20: "other",
}

// aclText turns the value of such an attribute (version 2: tag, permissions and id of each entry, little endian) into
// acl_to_text's long form with numeric ids.
func aclText(value []byte) (string, error) {
	if len(value) < 4 || binary.LittleEndian.Uint32(value) != 2 || len(value)%8 != 4 {
		return "", fmt.Errorf("access control list of an unknown version")
	}
	var b strings.Builder
	for e := value[4:]; len(e) > 0; e = e[8:] {
		tag, perm := binary.LittleEndian.Uint16(e), binary.LittleEndian.Uint16(e[2:])
		name, ok := aclTags[tag]
		if !ok {
			return "", fmt.Errorf("access control list with an unknown entry %#x", tag)
		}
		id := ""
		if tag == 0x02 || tag == 0x08 {
			id = strconv.FormatUint(uint64(binary.LittleEndian.Uint32(e[4:])), 10)
		}
		mode := []byte("---")
		for i, bit := range []uint16{4, 2, 1} {
			if perm&bit != 0 {
				mode[i] = "rwx"[i]
			}
		}
		fmt.Fprintf(&b, "%s:%s:%s\n", name, id, mode)
	}
	return b.String(), nil
}
