// Package checks is what the programs of this folder share: the list of things, and the records that they send and
// expect back. It is tests/compat/clients/python/checks.py in Go.
package checks

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

const (
	Partitions = 4
	Limit      = 30 * time.Second
	Big        = 900_000
	TooBig     = 1_200_000
	FirstMs    = 1_600_000_000_000
	StepMs     = 1_000
	Failover   = 3000
)

// Header is one of a record's; names repeat, a value may be empty.
type Header struct {
	Name  string
	Value []byte
}

// Sent is a record as it is sent and must come back. Its key may be nil.
type Sent struct {
	Key     []byte
	Value   []byte
	Headers []Header
	Ms      int64
}

// Program has a method for each thing.
type Program interface {
	Codec(codec string) error
	Idempotent() error
	Group() error
	Commit() error
	ByTimestamp() error
	ListOffsets() error
	Configs() error
	Groups() error
	DeleteRecords() error
	DeleteTopics() error
	UnknownTopic() error
	Big() error
	TooBig() error
	Failover() error
}

// Records returns different ones, in order.
func Records(count int) []Sent {
	made := make([]Sent, 0, count)
	for number := range count {
		text := fmt.Appendf(nil, "%d", number)
		sent := Sent{
			Value:   fmt.Appendf(nil, "%d:%s", number, strings.Repeat("value ", number%50)),
			Headers: []Header{{"number", text}, {"number", []byte("again")}, {"empty", []byte{}}},
			Ms:      FirstMs + int64(number)*StepMs,
		}
		if number%3 != 0 {
			sent.Key = fmt.Appendf(nil, "key-%d", number)
		}
		made = append(made, sent)
	}
	return made
}

// Same is an error that shows both, cut short, or nil.
func Same(what string, found, expected any) error {
	left, right := fmt.Sprintf("%v", found), fmt.Sprintf("%v", expected)
	if left == right {
		return nil
	}
	return fmt.Errorf("%s: found %.200s, expected %.200s", what, left, right)
}

// SameRecords compares keys, values, headers and timestamps.
func SameRecords(found, expected []Sent) error {
	if err := Same("number of records", len(found), len(expected)); err != nil {
		return err
	}
	for index, each := range found {
		other := expected[index]
		same := bytes.Equal(each.Key, other.Key) && (each.Key == nil) == (other.Key == nil) &&
			bytes.Equal(each.Value, other.Value) && each.Ms == other.Ms
		if err := Same(fmt.Sprintf("headers of %d", index), each.Headers, other.Headers); err != nil {
			return err
		}
		if !same {
			return fmt.Errorf("record %d: found %v, expected %v", index, each, other)
		}
	}
	return nil
}

// Until waits for a condition that nothing tells.
func Until(what string, done func() (bool, error)) error {
	deadline := time.Now().Add(Limit)
	for {
		ready, err := done()
		if err != nil || ready {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not in time: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Unique makes a prefix for the names of topics and groups.
func Unique(client string) string {
	return fmt.Sprintf("%s-%d", client, time.Now().UnixMicro())
}

// AskToKillTheLeader tells who runs this; it kills the leader of partition 0 and answers with a line.
func AskToKillTheLeader(topic string) error {
	fmt.Println("KILL", topic)
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	return errors.Join(err, Same("answer", strings.TrimSpace(line), "killed"))
}

// Run is `program BOOTSTRAP [failover]`: a line a thing, exit code 1 when one failed.
func Run(program func(bootstrap []string) (Program, error)) {
	made, err := program(strings.Split(os.Args[1], ","))
	if err != nil {
		fmt.Println("FAIL connect:", err)
		os.Exit(1)
	}
	failed := false
	look := func(name string, thing func() error) {
		if err := thing(); err != nil {
			failed = true
			fmt.Printf("FAIL %s: %v\n", name, err)
			return
		}
		fmt.Println("PASS", name)
	}
	if len(os.Args) > 2 && os.Args[2] == "failover" {
		look("failover: once and in order", made.Failover)
	} else {
		for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
			look("produce and consume: "+codec, func() error { return made.Codec(codec) })
		}
		look("idempotent producer", made.Idempotent)
		look("group: shares and rebalances", made.Group)
		look("commit: sync, async, given", made.Commit)
		look("seek by timestamp", made.ByTimestamp)
		look("list offsets", made.ListOffsets)
		look("describe and alter configs", made.Configs)
		look("list, describe, delete groups", made.Groups)
		look("delete records", made.DeleteRecords)
		look("delete topics", made.DeleteTopics)
		look("unknown topic: made, or refused", made.UnknownTopic)
		look("big record", made.Big)
		look("record too large", made.TooBig)
	}
	if failed {
		os.Exit(1)
	}
}
