package main

import (
	"log"
	"net"
	"os"
	"testing"
	"time"
)

// TestMain is also the process of an asker.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "ask" {
		if err := ask(os.Args[2:]); err != nil {
			log.Fatal(err)
		}
		return
	}
	m.Run()
}

// TestAskerAsks: the client has asked when startAsker returns, or a short reload would end before its first query.
func TestAskerAsks(t *testing.T) {
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := startAsker(server.LocalAddr().(*net.UDPAddr).Port)
	if err != nil {
		t.Fatal(err)
	}
	_ = server.SetReadDeadline(time.Now().Add(time.Millisecond / 10))
	if _, _, err := server.ReadFrom(make([]byte, 512)); err != nil {
		t.Errorf("no query has come: %v", err)
	}
	waits, err := client.stop()
	if err != nil || len(waits) == 0 || waits[0] != noAnswer {
		t.Errorf("waits of %v, %v; want %v for a query without an answer", waits, err, noAnswer)
	}
}
