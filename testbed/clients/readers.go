package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	readersPerConnection = 32
	// Who holds on to much is a few people, not one.
	readerUsers = 4
	// Longer than a list is queued for.
	readersStay = 25 * time.Second
)

// takeNothing asks for large lists and for watches with all there is, and lets the server send not one byte of them.
func takeNothing(at door, readers int) (map[string]int64, error) {
	told := map[string]int64{"lists": 0, "watches": 0, "refused": 0, "other": 0, "silent": 0, "ended": 0}
	var lock sync.Mutex
	count := func(what string) {
		lock.Lock()
		defer lock.Unlock()
		told[what]++
	}
	until := time.Now().Add(readersStay)
	var all sync.WaitGroup
	var failed error
	for begin := 0; begin < readers; begin += readersPerConnection {
		all.Go(func() {
			if err := readNothing(at, begin, min(begin+readersPerConnection, readers), until, count); err != nil {
				lock.Lock()
				defer lock.Unlock()
				failed = err
			}
		})
	}
	all.Wait()
	return told, failed
}

// readNothing is one connection of them. Every second one lists; the others watch.
func readNothing(at door, begin, end int, until time.Time, count func(string)) error {
	connection, err := at.dialTLS(&at.frontProxy, "h2")
	if err != nil {
		return err
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, http2.ClientPreface); err != nil {
		return err
	}
	framer := http2.NewFramer(connection, connection)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
		return err
	}
	silent := map[uint32]string{}
	for number := begin; number < end; number++ {
		path, what := at.large, "lists"
		if number%2 == 1 {
			path += "?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
			what = "watches"
		}
		head, err := headerBlock(path, fmt.Sprintf("reader-%d", number/2%readerUsers))
		if err != nil {
			return err
		}
		id := uint32(2*(number-begin) + 1)
		silent[id] = what
		headers := http2.HeadersFrameParam{StreamID: id, BlockFragment: head, EndHeaders: true, EndStream: true}
		if err := framer.WriteHeaders(headers); err != nil {
			return err
		}
	}
	if err := connection.SetReadDeadline(until); err != nil {
		return err
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			for range silent {
				count("silent")
			}
			if absence(err) == "nothing" {
				return nil
			}
			return err
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			what := silent[frame.StreamID]
			delete(silent, frame.StreamID)
			switch frame.PseudoValue("status") {
			case "200":
				count(what)
			case "429":
				count("refused")
			default:
				count("other")
			}
		case *http2.RSTStreamFrame:
			count("ended")
		case *http2.PingFrame:
			if !frame.IsAck() {
				if err := framer.WritePing(true, frame.Data); err != nil {
					return err
				}
			}
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				if err := framer.WriteSettingsAck(); err != nil {
					return err
				}
			}
		}
	}
}

// headerBlock is encoded without a table, so that it may be sent again and again.
func headerBlock(path, user string) ([]byte, error) {
	var out bytes.Buffer
	encoder := hpack.NewEncoder(&out)
	encoder.SetMaxDynamicTableSize(0)
	for _, field := range [][2]string{
		{":method", "GET"}, {":scheme", "https"}, {":authority", "localhost"}, {":path", path},
		{"x-remote-user", user}, {"x-remote-group", "system:masters"},
	} {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}
