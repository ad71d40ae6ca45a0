package journal

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/reroot-dev/reroot/events"
)

// Options of [Open]. The zero value is right for one server that can tell how it syncs.
type Options struct {
	// Replicas of every stream; 0 means 1.
	Replicas int
	// System is a connection to the server's system account. If it is set, Open asks the server how it syncs.
	System *nats.Conn
	// Synced vouches for "sync_interval: always" where nobody can ask: the server is known to be configured so.
	Synced bool
	// AckWait is how long after a crash a delivery is made again; 0 means 10 s. Running handlers are not affected.
	AckWait time.Duration
	// Clock is asked for the recorded time; nil means [time.Now].
	Clock func() time.Time
}

// JetStream is a [Store] in NATS JetStream. It is safe for concurrent use, by any number of processes.
type JetStream struct {
	nc   *nats.Conn
	js   jetstream.JetStream
	opts Options

	upgrades, dead, progress jetstream.Stream

	mu   sync.Mutex
	ends map[string]end // newest event of each history, as last seen
}

// end is where a history ends: its head, and the head's position in the stream.
type end struct {
	head     Head
	position uint64
}

var _ Store = (*JetStream)(nil)

// Open uses the server behind nc and creates the streams that are missing. It returns [ErrNotDurable] when the server
// acknowledges before it syncs, or when nobody can tell. The connection stays the caller's.
func Open(ctx context.Context, nc *nats.Conn, opts Options) (*JetStream, error) {
	if !opts.Synced {
		if err := checkSynced(ctx, nc, opts.System); err != nil {
			return nil, err
		}
	}
	return bind(nc, opts, func(js jetstream.JetStream, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
		return js.CreateOrUpdateStream(ctx, cfg)
	})
}

// Attach uses the streams that are there and changes nothing about them: for whoever looks and asks, but does not run
// the journal. It returns [ErrNoJournal] when there is none.
func Attach(ctx context.Context, nc *nats.Conn) (*JetStream, error) {
	return bind(nc, Options{}, func(js jetstream.JetStream, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
		stream, err := js.Stream(ctx, cfg.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			err = ErrNoJournal
		}
		return stream, err
	})
}

func bind(nc *nats.Conn, opts Options, open func(jetstream.JetStream, jetstream.StreamConfig) (jetstream.Stream, error)) (*JetStream, error) {
	opts.Replicas = max(opts.Replicas, 1)
	if opts.AckWait <= 0 {
		opts.AckWait = 10 * time.Second
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("cannot use jetstream: %w", err)
	}
	j := &JetStream{nc: nc, js: js, opts: opts, ends: map[string]end{}}
	for _, cfg := range streams(opts.Replicas) {
		stream, err := open(js, cfg)
		if err != nil {
			return nil, fmt.Errorf("cannot open stream %s: %w", cfg.Name, err)
		}
		switch cfg.Name {
		case streamUpgrades:
			j.upgrades = stream
		case streamDead:
			j.dead = stream
		case streamProgress:
			j.progress = stream
		}
	}
	return j, nil
}

// maxInbox bounds what may be submitted, in bytes: a payload and its headers, and room for what parking adds.
const maxInbox = events.MaxData + 64<<10

func streams(replicas int) []jetstream.StreamConfig {
	return []jetstream.StreamConfig{{
		Name:               streamUpgrades,
		Description:        "the journal: one hash-chained history per cluster",
		Subjects:           []string{rootUpgrades + ".>"},
		Replicas:           replicas,
		DenyDelete:         true,
		DenyPurge:          true,
		AllowAtomicPublish: true,
	}, {
		Name:        streamInbox,
		Description: "events from outside that are not yet admitted",
		Subjects:    []string{rootInbox + ".>"},
		Replicas:    replicas,
		Retention:   jetstream.WorkQueuePolicy,
		MaxMsgSize:  maxInbox,
	}, {
		Name:              streamDeadlines,
		Description:       "one timer per cluster",
		Subjects:          []string{rootDeadlines + ".>"},
		Replicas:          replicas,
		MaxMsgsPerSubject: 1,
		AllowMsgSchedules: true,
		AllowRollup:       true,
	}, {
		Name:              streamProgress,
		Description:       "the last report of each step",
		Subjects:          []string{rootProgress + ".>"},
		Replicas:          replicas,
		MaxMsgsPerSubject: 1,
	}, {
		Name:              streamDead,
		Description:       "events that were refused or failed for good",
		Subjects:          []string{rootDead + ".>"},
		Replicas:          replicas,
		MaxMsgsPerSubject: 1,
	}}
}

// checkSynced asks the server, over its system account, whether it syncs every write.
func checkSynced(ctx context.Context, nc, system *nats.Conn) error {
	if system == nil {
		return fmt.Errorf("%w, or nobody can tell: give a connection to its system account, or vouch for it", ErrNotDurable)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	msg, err := system.RequestWithContext(ctx, "$SYS.REQ.SERVER."+nc.ConnectedServerId()+".VARZ", nil)
	if err != nil {
		return fmt.Errorf("cannot ask the server how it syncs: %w", err)
	}
	var answer struct {
		Data struct {
			JetStream struct {
				Config struct {
					SyncAlways bool `json:"sync_always"`
				} `json:"config"`
			} `json:"jetstream"`
		} `json:"data"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return fmt.Errorf("cannot read how the server syncs: %w", err)
	}
	if !answer.Data.JetStream.Config.SyncAlways {
		return fmt.Errorf("%w: set sync_interval to always", ErrNotDurable)
	}
	return nil
}

// Append implements [Log].
func (j *JetStream) Append(ctx context.Context, cluster string, head Head, evs ...event.Event) ([]Record, error) {
	if len(evs) == 0 {
		return nil, nil
	}
	records, err := stamp(cluster, head, j.opts.Clock(), evs)
	if err != nil {
		return nil, err
	}
	after, err := j.position(ctx, cluster, head)
	if err != nil {
		return nil, err
	}
	at, err := j.publish(ctx, cluster, after, records)
	if err != nil {
		j.forget(cluster)
		return nil, err
	}
	j.note(cluster, end{records[len(records)-1].Head(), at})
	return records, nil
}

// Restart implements [Log].
func (j *JetStream) Restart(ctx context.Context, cluster string, e event.Event) (Record, error) {
	r, err := stampRestart(cluster, j.opts.Clock(), e)
	if err != nil {
		return r, err
	}
	last, err := j.upgrades.GetLastMsgForSubject(ctx, historyFilter(cluster))
	if err != nil {
		return r, fmt.Errorf("cannot find the history of %s: %w", cluster, err)
	}
	j.forget(cluster)
	at, err := j.publish(ctx, cluster, last.Sequence, []Record{r})
	if err != nil {
		return r, err
	}
	j.note(cluster, end{r.Head(), at})
	return r, nil
}

// position is the stream position of a head; [ErrConflict] when the history ends elsewhere.
func (j *JetStream) position(ctx context.Context, cluster string, head Head) (uint64, error) {
	if head.Sequence == 0 {
		return 0, nil
	}
	j.mu.Lock()
	known := j.ends[cluster]
	j.mu.Unlock()
	if known.head == head {
		return known.position, nil
	}
	now, err := j.end(ctx, cluster)
	if err != nil {
		return 0, err
	}
	if now.head != head {
		return 0, ErrConflict
	}
	return now.position, nil
}

// end asks the server for the end of a history; the zero value when there is none.
func (j *JetStream) end(ctx context.Context, cluster string) (end, error) {
	msg, err := j.upgrades.GetLastMsgForSubject(ctx, historyFilter(cluster))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return end{}, nil
	}
	if err != nil {
		return end{}, fmt.Errorf("cannot read the end of the history of %s: %w", cluster, err)
	}
	e, err := Decode(msg.Header, msg.Data)
	if err != nil {
		return end{}, err
	}
	hash, err := events.Hash(e)
	if err != nil {
		return end{}, err
	}
	return end{Head{events.Sequence(e), hash}, msg.Sequence}, nil
}

func (j *JetStream) note(cluster string, e end) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e.position > j.ends[cluster].position {
		j.ends[cluster] = e
	}
}

func (j *JetStream) forget(cluster string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.ends, cluster)
}

// Headers of JetStream's publishing protocol that nats.go does not name.
const (
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
)

// publish stores the records if position after is the newest of the cluster, and returns the last one's position.
// A batch is announced message by message without waiting; only the commit is answered.
func (j *JetStream) publish(ctx context.Context, cluster string, after uint64, records []Record) (uint64, error) {
	batch := ""
	if len(records) > 1 {
		batch = rand.Text()
	}
	for i, r := range records {
		msg, err := historyMessage(cluster, r.Event)
		if err != nil {
			return 0, err
		}
		if i == 0 { // in a batch, too, only the first message is compared
			msg.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(after, 10)}
			msg.Header[jetstream.ExpectedLastSubjSeqSubjHeader] = []string{historyFilter(cluster)}
		}
		if batch != "" {
			msg.Header[headerBatchID] = []string{batch}
			msg.Header[headerBatchSeq] = []string{strconv.Itoa(i + 1)}
		}
		if i == len(records)-1 {
			if batch != "" {
				msg.Header[headerBatchCommit] = []string{"1"}
			}
			return j.request(ctx, msg)
		}
		if err := j.nc.PublishMsg(msg); err != nil {
			return 0, fmt.Errorf("cannot publish: %w", err)
		}
	}
	return 0, nil
}

func historyMessage(cluster string, e event.Event) (*nats.Msg, error) {
	subject, err := historySubject(cluster, e)
	if err != nil {
		return nil, err
	}
	return message(subject, e)
}

func message(subject string, e event.Event) (*nats.Msg, error) {
	header, body, err := Encode(e)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: subject, Header: header, Data: body}, nil
}

// patience bounds one request to the server.
const patience = 10 * time.Second

// request publishes one message and waits for its acknowledgement.
func (j *JetStream) request(ctx context.Context, msg *nats.Msg) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	reply, err := j.nc.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return 0, fmt.Errorf("cannot publish to %s: %w", msg.Subject, err)
	}
	var ack struct {
		Seq   uint64              `json:"seq"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return 0, fmt.Errorf("cannot read the acknowledgement of %s: %w", msg.Subject, err)
	}
	if ack.Error == nil {
		return ack.Seq, nil
	}
	return 0, refusal(ctx, msg.Subject, ack.Error)
}

// Error codes of JetStream (nats-server's errors.json).
const (
	codeWrongLastSequence         = 10071
	codeWrongLastSequenceConstant = 10164
	codeBatchIncomplete           = 10176 // the batch's beginning was dropped: see codeTooManyBatches
	codeTooManyBatches            = 10210
)

// refusal translates the server's answer. Too many batches at a time is a conflict of another kind: nothing was
// stored, and the writer has to look again, a little later.
func refusal(ctx context.Context, subject string, e *jetstream.APIError) error {
	switch e.ErrorCode {
	case codeWrongLastSequence, codeWrongLastSequenceConstant:
		return ErrConflict
	case codeTooManyBatches, codeBatchIncomplete:
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
		}
		return ErrConflict
	}
	return fmt.Errorf("cannot publish to %s: %w", subject, e)
}

// Clusters implements [Log].
func (j *JetStream) Clusters(ctx context.Context) ([]string, error) {
	info, err := j.upgrades.Info(ctx, jetstream.WithSubjectFilter(rootUpgrades+".>"))
	if err != nil {
		return nil, fmt.Errorf("cannot list the clusters: %w", err)
	}
	var names []string
	for subject := range info.State.Subjects {
		names = append(names, clusterOf(subject))
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Submit implements [Inbox].
func (j *JetStream) Submit(ctx context.Context, origin string, e event.Event) error {
	subject, err := inboxSubject(origin, e)
	if err != nil {
		return err
	}
	msg, err := message(subject, e)
	if err != nil {
		return err
	}
	_, err = j.request(ctx, msg)
	return err
}
