package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
)

// forge puts an event behind a history that does not follow it.
func (w *world) forge(cluster string) {
	w.t.Helper()
	e := (&upgradetest.Story{Upgrade: "forged"}).Tell(w.heads[cluster], events.TypePrepFailed, nil)
	e.SetExtension(events.ExtSequence, "00000000000000000003")
	e.SetExtension(events.ExtPrevHash, strings.Repeat("0", 64))
	header, body, err := journal.Encode(e)
	if err != nil {
		w.t.Fatal(err)
	}
	nc, err := nats.Connect(w.store.URL())
	if err != nil {
		w.t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.RequestMsg(&nats.Msg{Subject: "reroot." + cluster + ".forged.prep.failed", Header: header, Data: body}, 5*time.Second); err != nil {
		w.t.Fatal(err)
	}
}

func TestDamagedHistory(t *testing.T) {
	w := newWorld(t, minutes()).tell("edge-1", upID, upgradetest.Until(events.TypePrepStarted)...).
		tell("edge-2", "other", upgradetest.Until(events.TypePrepStarted)...)
	w.forge("edge-1")
	for name, tt := range map[string]struct {
		line    string
		code    int
		out     string
		because string
	}{
		"the others are listed":         {"get", 1, "edge-2", "hash chain is broken at event 3"},
		"what comes before it is shown": {"events --cluster edge-1", 1, "prep.started", "hash chain is broken at event 3"},
		"the timeline stops":            {"timeline --cluster edge-1", 1, "", "hash chain is broken at event 3"},
		"no whole export":               {"export edge-1", 1, "", "hash chain is broken at event 3"},
		"no state":                      {"replay --cluster edge-1", 1, "", "hash chain is broken at event 3"},
		"the state before it is known":  {"replay --cluster edge-1 --until 2", 0, "phase: Validating", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.reroot(tt.line)
			if r.code != tt.code || !strings.Contains(r.out, tt.out) || !strings.Contains(r.err, tt.because) {
				t.Errorf("%s", r)
			}
			if r.code != 0 && (strings.Count(r.err, "\n") != 3 || !strings.Contains(r.err, "replay --until 2")) {
				t.Errorf("want three lines with advice: %s", r)
			}
		})
	}
}

func TestDamagedFile(t *testing.T) {
	text, w := readFile(t, "testdata/history.ndjson"), &world{t: t}
	for name, forged := range map[string]string{
		"changed":  strings.Replace(text, `"attempt":1`, `"attempt":2`, 1),
		"left out": text[strings.IndexByte(text, '\n')+1:],
		"no event": "{}\n",
		"nothing":  "",
	} {
		t.Run(name, func(t *testing.T) {
			r := w.do(t.Context(), call{args: strings.Fields("replay --file -"), in: forged})
			if r.code != 1 || r.out != "" || strings.Count(r.err, "\n") != 3 {
				t.Errorf("%s", r)
			}
		})
	}
	t.Run("genuine", func(t *testing.T) {
		log, err := journal.Import(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		want, err := journal.Fold(t.Context(), log, edge, 7)
		if err != nil {
			t.Fatal(err)
		}
		var got upgrade.State
		r := w.do(t.Context(), call{args: strings.Fields("replay --file - --until 7 -o json"), in: text})
		if err := json.Unmarshal([]byte(r.out), &got); err != nil || got.Hash != want.Hash || got.Phase != upgrade.Precache {
			t.Errorf("%v: %s", err, r)
		}
	})
	t.Run("another cluster", func(t *testing.T) {
		r := w.reroot("replay --file testdata/history.ndjson --cluster edge-2")
		if r.code != 2 || !strings.Contains(r.err, "[edge-1]") {
			t.Errorf("%s", r)
		}
	})
}
