package redis

import (
	"embed"
	"fmt"

	goredis "github.com/redis/go-redis/v9"

	"github.com/openkoo/connector/coordination"
)

//go:embed scripts/*.lua
var sources embed.FS

// script is a Lua script, named after its file.
type script struct {
	*goredis.Script
	name string
}

var (
	nonceEnter  = load("nonce_enter")
	nonceRenew  = load("nonce_renew")
	nonceFinish = load("nonce_finish")
	lockAcquire = load("lock_acquire")
	lockRenew   = load("lock_renew")
	lockRelease = load("lock_release")
	bucketMove  = load("bucket")
	breakerMove = load("breaker")
	taskEnqueue = load("task_enqueue")
	taskBegin   = load("task_begin")
	taskRenew   = load("task_renew")
	taskFinish  = load("task_finish")
)

// load reads a script with what all of them share before it. The files are
// part of the program: one that is missing ends it at start-up.
func load(name string) *script {
	return &script{name: name, Script: goredis.NewScript(source("prelude") + source(name))}
}

func source(name string) string {
	text, err := sources.ReadFile("scripts/" + name + ".lua")
	if err != nil {
		panic(err)
	}
	return string(text)
}

// odd is the error for an answer that the script does not give: somebody else
// uses the keys.
func (s *script) odd(reply any) error {
	return fmt.Errorf("%w: %s: unexpected answer of type %T; do other programs use this prefix?", coordination.ErrUnavailable, s.name, reply)
}
