package schemas_test

import (
	"encoding/json"
	"github.com/reroot-dev/reroot/schemas"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestQuick(t *testing.T) {
	m, _ := filepath.Glob("examples/*/*.json")
	for _, f := range m {
		b, _ := os.ReadFile(f)
		var e struct{ Data json.RawMessage }
		json.Unmarshal(b, &e)
		n := filepath.Base(filepath.Dir(f))
		t.Log(filepath.Base(f), schemas.Validate(n, e.Data), schemas.ValidateEnvelope(b))
		if strings.HasPrefix(filepath.Base(f), "valid") && (len(schemas.Validate(n, e.Data)) > 0 || len(schemas.ValidateEnvelope(b)) > 0) {
			t.Error(f)
		}
	}
}
