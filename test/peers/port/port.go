// Package port finds ports for servers that cannot choose their own.
package port

import (
	"errors"
	"net"
	"os"
	"strconv"
	"sync/atomic"
)

// The system gives whoever asks for any port one above these. A port that it
// gave and that was given back may be another's before the server has it.
const (
	first  = 20_000
	blocks = 200
	block  = 50
)

var taken atomic.Int64

// Free is a port of 127.0.0.1 that nobody listens on, and that nobody who asks
// for any port will. Each call, and each process at a time, gets another.
func Free() (string, error) {
	for range block {
		at := first + os.Getpid()%blocks*block + int(taken.Add(1))%block
		text := strconv.Itoa(at)
		listener, err := net.Listen("tcp", ":"+text)
		if err != nil {
			continue // another's
		}
		return text, listener.Close()
	}
	return "", errors.New("port: none is free")
}
