package graph

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// shownKey and the others are what people see: hashes and names, no secrets.
type (
	shownKey struct {
		ID        string  `json:"id"`
		Algorithm string  `json:"algorithm"`
		Private   bool    `json:"private"` // the private half is here
		Places    []Place `json:"places"`
	}
	shownCertificate struct {
		ID        string    `json:"id"`
		Name      string    `json:"name"`
		Serial    string    `json:"serial"`
		NotBefore time.Time `json:"notBefore"`
		NotAfter  time.Time `json:"notAfter"`
		Key       string    `json:"key"`
		Issuer    string    `json:"issuer,omitempty"` // key; absent when it is not known
		Places    []Place   `json:"places"`
	}
	shownToken struct {
		ID        string  `json:"id"`
		Algorithm string  `json:"algorithm"`
		Key       string  `json:"key,omitempty"`
		Places    []Place `json:"places"`
	}
	shownEncryptionKey struct {
		ID     string  `json:"id"`
		Bits   int     `json:"bits"`
		Places []Place `json:"places"`
	}
)

// MarshalJSON writes keys, certificates, tokens and the keys of encryption at rest, each sorted by id.
func (g *Graph) MarshalJSON() ([]byte, error) {
	var out struct {
		Keys         []shownKey         `json:"keys"`
		Certificates []shownCertificate `json:"certificates"`
		Tokens       []shownToken       `json:"tokens"`

		EncryptionKeys []shownEncryptionKey `json:"encryptionKeys,omitempty"`
	}
	for _, k := range g.SortedKeys() {
		out.Keys = append(out.Keys, shownKey{k.ID.String(), k.Algorithm.String(), k.Private != nil, k.Places})
	}
	for _, c := range g.SortedCertificates() {
		out.Certificates = append(out.Certificates, shownCertificate{
			c.ID.String(), c.CommonName, c.Serial.String(), c.NotBefore, c.NotAfter, c.Key.ID.String(), keyName(c.Issuer), c.Places,
		})
	}
	for _, t := range g.SortedTokens() {
		out.Tokens = append(out.Tokens, shownToken{t.ID.String(), t.Algorithm, keyName(t.Key), t.Places})
	}
	for _, k := range g.SortedEncryptionKeys() {
		out.EncryptionKeys = append(out.EncryptionKeys, shownEncryptionKey{k.ID.String(), 8 * len(k.Bytes), k.Places})
	}
	return json.Marshal(out)
}

func keyName(k *Key) string {
	if k == nil {
		return ""
	}
	return k.ID.String()
}

// WriteDOT draws the graph for Graphviz: keys as boxes, dashed when the private half is not here, and
// certificates and tokens as arrows from the key that signed them.
func (g *Graph) WriteDOT(w io.Writer) error {
	const short = 12
	out := bufio.NewWriter(w)
	fmt.Fprintln(out, "digraph material {")
	fmt.Fprintln(out, "  node [shape=box];")
	for _, k := range g.SortedKeys() {
		style := "solid"
		if k.Private == nil {
			style = "dashed"
		}
		fmt.Fprintf(out, "  %q [label=%q, style=%s];\n", k.ID, fmt.Sprintf("%s\n%s", k.Algorithm, k.ID.String()[:short]), style)
	}
	for _, c := range g.SortedCertificates() {
		from := "unknown issuer of " + c.ID.String()[:short]
		if c.Issuer != nil {
			from = c.Issuer.ID.String()
		}
		fmt.Fprintf(out, "  %q -> %q [label=%q];\n", from, c.Key.ID, c.CommonName)
	}
	for _, t := range g.SortedTokens() {
		if t.Key != nil {
			fmt.Fprintf(out, "  %q -> %q;\n", t.Key.ID, "token "+t.ID.String()[:short])
		}
	}
	fmt.Fprintln(out, "}")
	return out.Flush()
}
