// franz-go at any cluster: `franz BOOTSTRAP [failover]`.
package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"ottla/clients/checks"
)

type program struct {
	bootstrap []string
	run       string
	admin     *kadm.Client
}

func main() {
	checks.Run(func(bootstrap []string) (checks.Program, error) {
		client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap...))
		return &program{bootstrap, checks.Unique("franz"), kadm.NewClient(client)}, err
	})
}

func limited() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), checks.Limit)
}

func (p *program) topic(name string, partitions int32) (string, error) {
	ctx, cancel := limited()
	defer cancel()
	topic := p.run + "-" + name
	_, err := p.admin.CreateTopic(ctx, partitions, 3, nil, topic)
	return topic, err
}

// with is a client with settings of its own for as long as it is used.
func (p *program) with(use func(context.Context, *kgo.Client) error, options ...kgo.Opt) error {
	ctx, cancel := limited()
	defer cancel()
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(p.bootstrap...))...)
	if err != nil {
		return err
	}
	defer client.Close()
	return use(ctx, client)
}

func (p *program) send(topic string, what []checks.Sent, options ...kgo.Opt) error {
	return p.with(func(ctx context.Context, client *kgo.Client) error {
		var all []*kgo.Record
		for _, each := range what {
			record := &kgo.Record{
				Topic: topic, Key: each.Key, Value: each.Value, Timestamp: time.UnixMilli(each.Ms),
			}
			for _, header := range each.Headers {
				record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Name, Value: header.Value})
			}
			all = append(all, record)
		}
		return client.ProduceSync(ctx, all...).FirstErr()
	}, options...)
}

// filled is a topic of one partition with 200 records.
func (p *program) filled(name string) (string, error) {
	topic, err := p.topic(name, 1)
	if err != nil {
		return topic, err
	}
	return topic, p.send(topic, checks.Records(200))
}

func read(ctx context.Context, client *kgo.Client, count int) ([]*kgo.Record, error) {
	var found []*kgo.Record
	for len(found) < count {
		fetches := client.PollRecords(ctx, count-len(found))
		if err := fetches.Err(); err != nil {
			return found, fmt.Errorf("%d of %d records read: %w", len(found), count, err)
		}
		found = append(found, fetches.Records()...)
	}
	return found, nil
}

func (p *program) readTopic(topic string, count int) (found []*kgo.Record, err error) {
	err = p.with(func(ctx context.Context, client *kgo.Client) error {
		found, err = read(ctx, client, count)
		return err
	}, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	return found, err
}

func sent(found []*kgo.Record) []checks.Sent {
	var all []checks.Sent
	for _, each := range found {
		one := checks.Sent{Key: each.Key, Value: each.Value, Ms: each.Timestamp.UnixMilli()}
		for _, header := range each.Headers {
			one.Headers = append(one.Headers, checks.Header{Name: header.Key, Value: header.Value})
		}
		all = append(all, one)
	}
	return all
}

func (p *program) Codec(name string) error {
	codec := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[name]
	topic, err := p.topic(name, 1)
	if err != nil {
		return err
	}
	err = p.send(topic, checks.Records(200), kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(20*time.Millisecond))
	if err != nil {
		return err
	}
	found, err := p.readTopic(topic, 200)
	return errors.Join(err, checks.SameRecords(sent(found), checks.Records(200)))
}

func (p *program) Idempotent() error {
	topic, err := p.topic("idempotent", 1)
	if err != nil {
		return err
	}
	if err := p.send(topic, checks.Records(500), kgo.ProducerBatchMaxBytes(2000)); err != nil {
		return err
	}
	found, err := p.readTopic(topic, 500)
	return errors.Join(err, checks.SameRecords(sent(found), checks.Records(500)))
}

// member is one of a group, and what it has at the moment.
type member struct {
	client *kgo.Client
	owned  int
}

func (p *program) member(topic, group string) (*member, error) {
	made := &member{}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(p.bootstrap...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second),
		kgo.HeartbeatInterval(300*time.Millisecond), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, more map[string][]int32) {
			made.owned += len(more[topic])
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, fewer map[string][]int32) {
			made.owned -= len(fewer[topic])
		}),
	)
	made.client = client
	return made, err
}

// poll takes what is there; its callbacks run only between polls.
func (m *member) poll(seen map[string]bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	for _, each := range m.client.PollFetches(ctx).Records() {
		seen[string(each.Value)] = true
	}
}

func (p *program) Group() error {
	topic, err := p.topic("shared", checks.Partitions)
	if err != nil {
		return err
	}
	if err := p.send(topic, checks.Records(200), kgo.RecordPartitioner(kgo.RoundRobinPartitioner())); err != nil {
		return err
	}
	first, err := p.member(topic, topic+"-group")
	if err != nil {
		return err
	}
	defer first.client.CloseAllowingRebalance()
	second, err := p.member(topic, topic+"-group")
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	members := []*member{first, second}
	poll := func(what string, done func() bool) error {
		return checks.Until(what, func() (bool, error) {
			for _, each := range members {
				each.poll(seen)
			}
			ready := done()
			for _, each := range members {
				each.client.AllowRebalance()
			}
			return ready, nil
		})
	}
	if err := poll("two each", func() bool { return first.owned == 2 && second.owned == 2 }); err != nil {
		return err
	}
	if err := poll("all read", func() bool { return len(seen) == 200 }); err != nil {
		return err
	}
	members = members[:1]
	second.client.CloseAllowingRebalance()
	return poll("all for who is left", func() bool { return first.owned == checks.Partitions })
}

func (p *program) Commit() error {
	topic, err := p.filled("commit")
	if err != nil {
		return err
	}
	group := p.run + "-commit"
	goOn := func(offset int64, commit func(context.Context, *kgo.Client) error) error {
		return p.with(func(ctx context.Context, client *kgo.Client) error {
			found, err := read(ctx, client, 10)
			if err != nil {
				return err
			}
			if err := checks.Same("goes on at", found[0].Offset, offset); err != nil {
				return err
			}
			return commit(ctx, client)
		}, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	}
	synchronous := func(ctx context.Context, client *kgo.Client) error {
		return client.CommitUncommittedOffsets(ctx)
	}
	asynchronous := func(ctx context.Context, client *kgo.Client) error {
		done := make(chan error, 1)
		client.CommitOffsets(ctx, client.UncommittedOffsets(),
			func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, err error) { done <- err })
		return <-done
	}
	given := func(ctx context.Context, client *kgo.Client) (err error) {
		where := map[string]map[int32]kgo.EpochOffset{topic: {0: {Epoch: -1, Offset: 100}}}
		client.CommitOffsetsSync(ctx, where,
			func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, failed error) {
				err = failed
			})
		return err
	}
	nothing := func(context.Context, *kgo.Client) error { return nil }
	return firstOf(
		func() error { return goOn(0, synchronous) },
		func() error { return goOn(10, asynchronous) },
		func() error { return goOn(20, given) },
		func() error { return goOn(100, nothing) },
	)
}

// firstOf does one after the other and ends with the first error.
func firstOf(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) ByTimestamp() error {
	topic, err := p.filled("times")
	if err != nil {
		return err
	}
	return p.with(func(ctx context.Context, client *kgo.Client) error {
		found, err := read(ctx, client, 1)
		if err != nil {
			return err
		}
		return checks.Same("offset", found[0].Offset, 50)
	}, kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AfterMilli(checks.FirstMs+50*checks.StepMs-1)))
}

func (p *program) ListOffsets() error {
	topic, err := p.filled("offsets")
	if err != nil {
		return err
	}
	ctx, cancel := limited()
	defer cancel()
	for _, each := range []struct {
		what   string
		ask    func() (kadm.ListedOffsets, error)
		expect int64
	}{
		{"start", func() (kadm.ListedOffsets, error) { return p.admin.ListStartOffsets(ctx, topic) }, 0},
		{"end", func() (kadm.ListedOffsets, error) { return p.admin.ListEndOffsets(ctx, topic) }, 200},
		{"max timestamp", func() (kadm.ListedOffsets, error) { return p.admin.ListMaxTimestampOffsets(ctx, topic) }, 199},
		{"after", func() (kadm.ListedOffsets, error) {
			return p.admin.ListOffsetsAfterMilli(ctx, checks.FirstMs+checks.StepMs, topic)
		}, 1},
	} {
		listed, err := each.ask()
		if err == nil {
			err = listed.Error()
		}
		if err != nil {
			return err
		}
		found, _ := listed.Lookup(topic, 0)
		if err := checks.Same(each.what, found.Offset, each.expect); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) Configs() error {
	topic, err := p.topic("configs", 1)
	if err != nil {
		return err
	}
	ctx, cancel := limited()
	defer cancel()
	hour := "3600000"
	change := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &hour}}
	if _, err := p.admin.AlterTopicConfigs(ctx, change, topic); err != nil {
		return err
	}
	values := map[string]string{}
	// Any broker may be asked, and hear of topic and change a moment later.
	err = checks.Until("the change is seen", func() (bool, error) {
		described, err := p.admin.DescribeTopicConfigs(ctx, topic)
		if err != nil {
			return false, err
		}
		found, err := described.On(topic, nil)
		if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(found.Err, kerr.UnknownTopicOrPartition) {
			return false, nil
		}
		for _, each := range found.Configs {
			values[each.Key] = each.MaybeValue()
		}
		return values["retention.ms"] == hour, err
	})
	if err != nil {
		return err
	}
	same := checks.Same("cleanup.policy", values["cleanup.policy"], "delete")
	brokers, err := p.admin.DescribeBrokerConfigs(ctx, 1)
	if err != nil {
		return err
	}
	has := slices.ContainsFunc(brokers[0].Configs, func(each kadm.Config) bool { return each.Key == "log.segment.bytes" })
	return errors.Join(same, checks.Same("the broker has log.segment.bytes", has, true))
}

func (p *program) Groups() error {
	topic, err := p.filled("groups")
	if err != nil {
		return err
	}
	group := p.run + "-groups"
	err = p.with(func(ctx context.Context, client *kgo.Client) error {
		if _, err := read(ctx, client, 10); err != nil {
			return err
		}
		if err := client.CommitUncommittedOffsets(ctx); err != nil {
			return err
		}
		listed, err := p.admin.ListGroups(ctx)
		if err != nil {
			return err
		}
		described, err := p.admin.DescribeGroups(ctx, group)
		if err != nil {
			return err
		}
		found := described[group]
		return errors.Join(
			checks.Same("listed", slices.Contains(listed.Groups(), group), true),
			checks.Same("described", fmt.Sprint(found.State, " ", len(found.Members)), "Stable 1"),
		)
	}, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	ctx, cancel := limited()
	defer cancel()
	offsets, err := p.admin.FetchOffsets(ctx, group)
	if err != nil {
		return err
	}
	found, _ := offsets.Lookup(topic, 0)
	if _, err := p.admin.DeleteGroup(ctx, group); err != nil {
		return err
	}
	listed, err := p.admin.ListGroups(ctx)
	return errors.Join(
		err,
		checks.Same("position", found.At, 10),
		checks.Same("listed after", slices.Contains(listed.Groups(), group), false),
	)
}

func (p *program) DeleteRecords() error {
	topic, err := p.filled("shortened")
	if err != nil {
		return err
	}
	ctx, cancel := limited()
	defer cancel()
	before := kadm.Offsets{}
	before.AddOffset(topic, 0, 60, -1)
	answer, err := p.admin.DeleteRecords(ctx, before)
	if err == nil {
		err = answer.Error()
	}
	if err != nil {
		return err
	}
	listed, err := p.admin.ListStartOffsets(ctx, topic)
	found, _ := listed.Lookup(topic, 0)
	return errors.Join(err, checks.Same("start", found.Offset, 60))
}

func (p *program) DeleteTopics() error {
	topic, err := p.topic("doomed", 1)
	if err != nil {
		return err
	}
	ctx, cancel := limited()
	defer cancel()
	if _, err := p.admin.DeleteTopic(ctx, topic); err != nil {
		return err
	}
	return checks.Until("the topic is gone", func() (bool, error) {
		found, err := p.admin.Metadata(ctx)
		return err == nil && !found.Topics.Has(topic), err
	})
}

// UnknownTopic: made by a producer that says so, and not otherwise.
func (p *program) UnknownTopic() error {
	one := checks.Records(1)
	if err := p.send(p.run+"-made", one, kgo.AllowAutoTopicCreation()); err != nil {
		return err
	}
	err := p.send(p.run+"-unknown", one, kgo.UnknownTopicRetries(1))
	return checks.Same("error", errors.Is(err, kerr.UnknownTopicOrPartition), true)
}

func (p *program) Big() error {
	topic, err := p.topic("big", 1)
	if err != nil {
		return err
	}
	one := checks.Sent{Value: make([]byte, checks.Big), Ms: checks.FirstMs}
	if err := p.send(topic, []checks.Sent{one}, kgo.ProducerBatchCompression(kgo.NoCompression())); err != nil {
		return err
	}
	found, err := p.readTopic(topic, 1)
	return errors.Join(err, checks.SameRecords(sent(found), []checks.Sent{one}))
}

func (p *program) TooBig() error {
	topic, err := p.topic("too-big", 1)
	if err != nil {
		return err
	}
	one := checks.Sent{Value: make([]byte, checks.TooBig), Ms: checks.FirstMs}
	err = p.send(topic, []checks.Sent{one},
		kgo.ProducerBatchMaxBytes(3_000_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if !errors.Is(err, kerr.MessageTooLarge) {
		return fmt.Errorf("found %w, expected MESSAGE_TOO_LARGE", err)
	}
	return nil
}

func (p *program) Failover() error {
	topic, err := p.topic("failover", 1)
	if err != nil {
		return err
	}
	err = p.with(func(ctx context.Context, client *kgo.Client) error {
		failed := make(chan error, checks.Failover)
		for number := range checks.Failover {
			record := &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%d", number)}
			client.Produce(ctx, record, func(_ *kgo.Record, err error) { failed <- err })
			time.Sleep(time.Millisecond)
			if number == checks.Failover/3 {
				if err := checks.AskToKillTheLeader(topic); err != nil {
					return err
				}
			}
		}
		for range checks.Failover {
			if err := <-failed; err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	found, err := p.readTopic(topic, checks.Failover)
	for index, each := range found {
		if string(each.Value) != fmt.Sprint(index) {
			return fmt.Errorf("offset %d has record %s", index, each.Value)
		}
	}
	return err
}
