// sarama at any cluster: `sarama BOOTSTRAP [failover]`.
package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"ottla/clients/checks"
)

type program struct {
	bootstrap []string
	run       string
	admin     sarama.ClusterAdmin
}

func main() {
	checks.Run(func(bootstrap []string) (checks.Program, error) {
		admin, err := sarama.NewClusterAdmin(bootstrap, settings())
		return &program{bootstrap, checks.Unique("sarama"), admin}, err
	})
}

// settings are sarama's own, with what the things here need.
func settings(changes ...func(*sarama.Config)) *sarama.Config {
	made := sarama.NewConfig()
	made.Producer.Return.Successes = true
	made.Producer.RequiredAcks = sarama.WaitForAll
	made.Consumer.Offsets.Initial = sarama.OffsetOldest
	made.Consumer.Offsets.AutoCommit.Enable = false
	for _, change := range changes {
		change(made)
	}
	return made
}

func idempotent(made *sarama.Config) {
	made.Producer.Idempotent = true
	made.Net.MaxOpenRequests = 1
}

func (p *program) topic(name string, partitions int32) (string, error) {
	topic := p.run + "-" + name
	return topic, p.admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 3}, false)
}

func (p *program) send(topic string, what []checks.Sent, changes ...func(*sarama.Config)) error {
	producer, err := sarama.NewSyncProducer(p.bootstrap, settings(changes...))
	if err != nil {
		return err
	}
	var all []*sarama.ProducerMessage
	for _, each := range what {
		message := &sarama.ProducerMessage{
			Topic: topic, Value: sarama.ByteEncoder(each.Value), Timestamp: time.UnixMilli(each.Ms),
		}
		if each.Key != nil {
			message.Key = sarama.ByteEncoder(each.Key)
		}
		for _, header := range each.Headers {
			message.Headers = append(message.Headers,
				sarama.RecordHeader{Key: []byte(header.Name), Value: header.Value})
		}
		all = append(all, message)
	}
	return errors.Join(producer.SendMessages(all), producer.Close())
}

func (p *program) filled(name string) (string, error) {
	topic, err := p.topic(name, 1)
	if err != nil {
		return topic, err
	}
	return topic, p.send(topic, checks.Records(200))
}

// read takes so many of partition 0, from an offset on.
func (p *program) read(topic string, offset int64, count int) ([]*sarama.ConsumerMessage, error) {
	consumer, err := sarama.NewConsumer(p.bootstrap, settings())
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	partition, err := consumer.ConsumePartition(topic, 0, offset)
	if err != nil {
		return nil, err
	}
	defer partition.Close()
	var found []*sarama.ConsumerMessage
	limit := time.After(checks.Limit)
	for len(found) < count {
		select {
		case message := <-partition.Messages():
			found = append(found, message)
		case <-limit:
			return found, fmt.Errorf("%d of %d records read", len(found), count)
		}
	}
	return found, nil
}

func sent(found []*sarama.ConsumerMessage) []checks.Sent {
	var all []checks.Sent
	for _, each := range found {
		one := checks.Sent{Key: each.Key, Value: each.Value, Ms: each.Timestamp.UnixMilli()}
		for _, header := range each.Headers {
			one.Headers = append(one.Headers, checks.Header{Name: string(header.Key), Value: header.Value})
		}
		all = append(all, one)
	}
	return all
}

func (p *program) Codec(name string) error {
	topic, err := p.topic(name, 1)
	if err != nil {
		return err
	}
	err = p.send(topic, checks.Records(200), func(made *sarama.Config) {
		made.Producer.Compression = map[string]sarama.CompressionCodec{
			"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
			"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
		}[name]
	})
	if err != nil {
		return err
	}
	found, err := p.read(topic, sarama.OffsetOldest, 200)
	return errors.Join(err, checks.SameRecords(sent(found), checks.Records(200)))
}

func (p *program) Idempotent() error {
	topic, err := p.topic("idempotent", 1)
	if err != nil {
		return err
	}
	small := func(made *sarama.Config) { made.Producer.Flush.MaxMessages = 10 }
	if err := p.send(topic, checks.Records(500), idempotent, small); err != nil {
		return err
	}
	found, err := p.read(topic, sarama.OffsetOldest, 500)
	return errors.Join(err, checks.SameRecords(sent(found), checks.Records(500)))
}

// member reads in a group until it is told to leave; `work` gets each record with the session.
type member struct {
	group  sarama.ConsumerGroup
	stop   context.CancelFunc
	ended  chan error
	work   func(sarama.ConsumerGroupSession, *sarama.ConsumerMessage)
	mutex  sync.Mutex
	owned  int
	values map[string]bool
}

func (p *program) member(
	topic, group string, work func(sarama.ConsumerGroupSession, *sarama.ConsumerMessage),
) (*member, error) {
	joined, err := sarama.NewConsumerGroup(p.bootstrap, group, settings(func(made *sarama.Config) {
		made.Consumer.Group.Session.Timeout = 6 * time.Second
		made.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	}))
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	made := &member{group: joined, stop: stop, ended: make(chan error, 1), work: work, values: map[string]bool{}}
	go func() {
		for ctx.Err() == nil {
			if err := joined.Consume(ctx, []string{topic}, made); err != nil {
				made.ended <- err
				return
			}
		}
		made.ended <- joined.Close()
	}()
	return made, nil
}

func (m *member) leave() error {
	m.stop()
	return <-m.ended
}

func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.owned = 0
	for _, partitions := range session.Claims() {
		m.owned += len(partitions)
	}
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			m.mutex.Lock()
			m.values[string(message.Value)] = true
			m.mutex.Unlock()
			if m.work != nil {
				m.work(session, message)
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

func (m *member) look() (owned, read int) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.owned, len(m.values)
}

func (p *program) Group() error {
	topic, err := p.topic("shared", checks.Partitions)
	if err != nil {
		return err
	}
	if err := p.send(topic, checks.Records(200)); err != nil {
		return err
	}
	first, err := p.member(topic, topic+"-group", nil)
	if err != nil {
		return err
	}
	second, err := p.member(topic, topic+"-group", nil)
	if err != nil {
		return err
	}
	err = checks.Until("two each", func() (bool, error) {
		one, _ := first.look()
		other, _ := second.look()
		return one == 2 && other == 2, nil
	})
	if err != nil {
		return err
	}
	err = checks.Until("all read", func() (bool, error) {
		_, some := first.look()
		_, others := second.look()
		return some+others >= 200, nil
	})
	if err != nil {
		return err
	}
	if err := second.leave(); err != nil {
		return err
	}
	err = checks.Until("all for who is left", func() (bool, error) {
		owned, _ := first.look()
		return owned == checks.Partitions, nil
	})
	return errors.Join(err, first.leave())
}

// goOn reads from where the group has left off, and lets `work` deal with the tenth record.
func (p *program) goOn(topic, group string, offset int64, work func(sarama.ConsumerGroupSession, *sarama.ConsumerMessage)) error {
	first := make(chan int64, 1)
	tenth := make(chan struct{}, 1)
	seen := 0
	joined, err := p.member(topic, group, func(session sarama.ConsumerGroupSession, message *sarama.ConsumerMessage) {
		if seen == 0 {
			first <- message.Offset
		}
		if seen++; seen == 10 {
			work(session, message)
			tenth <- struct{}{}
		}
	})
	if err != nil {
		return err
	}
	select {
	case <-tenth:
	case <-time.After(checks.Limit):
		return errors.Join(errors.New("not in time: ten records"), joined.leave())
	}
	return errors.Join(joined.leave(), checks.Same("goes on at", <-first, offset))
}

func (p *program) Commit() error {
	topic, err := p.filled("commit")
	if err != nil {
		return err
	}
	group := p.run + "-commit"
	err = p.goOn(topic, group, 0, func(session sarama.ConsumerGroupSession, message *sarama.ConsumerMessage) {
		session.MarkMessage(message, "")
		session.Commit()
	})
	if err != nil {
		return err
	}
	// What is marked and not committed is committed when the session ends, if that is automatic; here it is told.
	err = p.goOn(topic, group, 10, func(session sarama.ConsumerGroupSession, _ *sarama.ConsumerMessage) {
		session.MarkOffset(topic, 0, 100, "mine")
		session.Commit()
	})
	if err != nil {
		return err
	}
	given := map[string]map[int32]sarama.OffsetAndMetadata{topic: {0: {Offset: 150, LeaderEpoch: -1}}}
	nothing := func(sarama.ConsumerGroupSession, *sarama.ConsumerMessage) {}
	if err := p.goOn(topic, group, 100, nothing); err != nil {
		return err
	}
	if _, err := p.admin.AlterConsumerGroupOffsets(group, given, nil); err != nil {
		return err
	}
	return p.goOn(topic, group, 150, nothing)
}

func (p *program) ByTimestamp() error {
	topic, err := p.filled("times")
	if err != nil {
		return err
	}
	client, err := sarama.NewClient(p.bootstrap, settings())
	if err != nil {
		return err
	}
	defer client.Close()
	offset, err := client.GetOffset(topic, 0, checks.FirstMs+50*checks.StepMs-1)
	if err != nil {
		return err
	}
	found, err := p.read(topic, offset, 1)
	if err != nil {
		return err
	}
	return checks.Same("offset", found[0].Offset, 50)
}

func (p *program) ListOffsets() error {
	topic, err := p.filled("offsets")
	if err != nil {
		return err
	}
	for spec, expected := range map[int64]int64{
		sarama.OffsetOldest: 0, sarama.OffsetNewest: 200, checks.FirstMs + checks.StepMs: 1,
	} {
		found, err := p.admin.ListOffsets(map[string]map[int32]int64{topic: {0: spec}}, nil)
		if err != nil {
			return err
		}
		one := found[topic][0]
		if one.Err != sarama.ErrNoError {
			return one.Err
		}
		if err := checks.Same(fmt.Sprint("offset for ", spec), one.Offset, expected); err != nil {
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
	hour := "3600000"
	err = p.admin.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{
		"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &hour},
	}, false)
	if err != nil {
		return err
	}
	values := map[string]string{}
	describe := func(kind sarama.ConfigResourceType, name string) error {
		entries, err := p.admin.DescribeConfig(sarama.ConfigResource{Type: kind, Name: name})
		for _, entry := range entries {
			values[entry.Name] = entry.Value
		}
		return err
	}
	// Any broker may be asked, and hear of topic and change a moment later.
	err = checks.Until("the change is seen", func() (bool, error) {
		err := describe(sarama.TopicResource, topic)
		if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			return false, nil
		}
		return values["retention.ms"] == hour, err
	})
	if err != nil {
		return err
	}
	err = describe(sarama.BrokerResource, "1")
	_, has := values["log.segment.bytes"]
	return errors.Join(
		err,
		checks.Same("cleanup.policy", values["cleanup.policy"], "delete"),
		checks.Same("the broker has log.segment.bytes", has, true),
	)
}

func (p *program) Groups() error {
	topic, err := p.filled("groups")
	if err != nil {
		return err
	}
	group := p.run + "-groups"
	err = p.goOn(topic, group, 0, func(session sarama.ConsumerGroupSession, message *sarama.ConsumerMessage) {
		session.MarkMessage(message, "")
		session.Commit()
	})
	if err != nil {
		return err
	}
	present, err := p.member(topic, group, nil)
	if err != nil {
		return err
	}
	err = checks.Until("it is a member", func() (bool, error) {
		owned, _ := present.look()
		return owned == 1, nil
	})
	if err != nil {
		return err
	}
	listed, err := p.admin.ListConsumerGroups()
	if err != nil {
		return err
	}
	described, err := p.admin.DescribeConsumerGroups([]string{group})
	if err != nil {
		return err
	}
	offsets, err := p.admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0}})
	if err != nil {
		return err
	}
	err = errors.Join(
		checks.Same("listed", listed[group], "consumer"),
		checks.Same("described", fmt.Sprint(described[0].State, " ", len(described[0].Members)), "Stable 1"),
		checks.Same("position", offsets.GetBlock(topic, 0).Offset, 10),
		present.leave(),
	)
	if err != nil {
		return err
	}
	if err := p.admin.DeleteConsumerGroup(group); err != nil {
		return err
	}
	listed, err = p.admin.ListConsumerGroups()
	_, has := listed[group]
	return errors.Join(err, checks.Same("listed after", has, false))
}

func (p *program) DeleteRecords() error {
	topic, err := p.filled("shortened")
	if err != nil {
		return err
	}
	if err := p.admin.DeleteRecords(topic, map[int32]int64{0: 60}); err != nil {
		return err
	}
	found, err := p.read(topic, sarama.OffsetOldest, 1)
	if err != nil {
		return err
	}
	return checks.Same("start", found[0].Offset, 60)
}

func (p *program) DeleteTopics() error {
	topic, err := p.topic("doomed", 1)
	if err != nil {
		return err
	}
	if err := p.admin.DeleteTopic(topic); err != nil {
		return err
	}
	return checks.Until("the topic is gone", func() (bool, error) {
		listed, err := p.admin.ListTopics()
		_, has := listed[topic]
		return !has, err
	})
}

// UnknownTopic: made by a producer, and not when that is switched off.
func (p *program) UnknownTopic() error {
	if err := p.send(p.run+"-made", checks.Records(1)); err != nil {
		return err
	}
	err := p.send(p.run+"-unknown", checks.Records(1), func(made *sarama.Config) {
		made.Metadata.AllowAutoTopicCreation = false
	})
	var failed sarama.ProducerErrors
	if !errors.As(err, &failed) || !errors.Is(failed[0].Err, sarama.ErrUnknownTopicOrPartition) {
		return fmt.Errorf("found %w, expected UNKNOWN_TOPIC_OR_PARTITION", err)
	}
	return nil
}

func (p *program) Big() error {
	topic, err := p.topic("big", 1)
	if err != nil {
		return err
	}
	one := checks.Sent{Value: make([]byte, checks.Big), Ms: checks.FirstMs}
	if err := p.send(topic, []checks.Sent{one}); err != nil {
		return err
	}
	found, err := p.read(topic, sarama.OffsetOldest, 1)
	return errors.Join(err, checks.SameRecords(sent(found), []checks.Sent{one}))
}

func (p *program) TooBig() error {
	topic, err := p.topic("too-big", 1)
	if err != nil {
		return err
	}
	one := checks.Sent{Value: make([]byte, checks.TooBig), Ms: checks.FirstMs}
	err = p.send(topic, []checks.Sent{one}, func(made *sarama.Config) { made.Producer.MaxMessageBytes = 3_000_000 })
	var failed sarama.ProducerErrors
	if !errors.As(err, &failed) || !errors.Is(failed[0].Err, sarama.ErrMessageSizeTooLarge) {
		return fmt.Errorf("found %w, expected MESSAGE_TOO_LARGE", err)
	}
	return nil
}

func (p *program) Failover() error {
	topic, err := p.topic("failover", 1)
	if err != nil {
		return err
	}
	producer, err := sarama.NewAsyncProducer(p.bootstrap, settings(idempotent))
	if err != nil {
		return err
	}
	outcome := make(chan error, checks.Failover)
	go func() {
		for range producer.Successes() {
			outcome <- nil
		}
	}()
	go func() {
		for failed := range producer.Errors() {
			outcome <- failed
		}
	}()
	for number := range checks.Failover {
		producer.Input() <- &sarama.ProducerMessage{
			Topic: topic, Value: sarama.StringEncoder(fmt.Sprint(number)),
		}
		time.Sleep(time.Millisecond)
		if number == checks.Failover/3 {
			if err := checks.AskToKillTheLeader(topic); err != nil {
				return err
			}
		}
	}
	for range checks.Failover {
		if err := <-outcome; err != nil {
			return err
		}
	}
	producer.AsyncClose()
	found, err := p.read(topic, sarama.OffsetOldest, checks.Failover)
	for index, each := range found {
		if string(each.Value) != fmt.Sprint(index) {
			return fmt.Errorf("offset %d has record %s", index, each.Value)
		}
	}
	return err
}
