package ldap_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	ldapv3 "github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/ldap"
	"github.com/openkoo/connector/test/peers/slapd"
)

// proxy stands between the connector and a server. It counts requests and can
// be told to swallow answers or to cut connections.
type proxy struct {
	address string

	mu       sync.Mutex
	counts   map[uint8]int
	conns    map[net.Conn]struct{}
	cutAfter uint8         // the kind of request whose answer is lost
	hold     chan struct{} // answers wait until it is closed
}

func newProxy(t *testing.T, upstream string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{address: listener.Addr().String(), counts: map[uint8]int{}, conns: map[net.Conn]struct{}{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.serve(conn, upstream) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.cut()
		running.Wait()
	})
	return p
}

// plain sends a connector through the proxy.
func (p *proxy) plain(c *ldap.Config) {
	c.URL, c.Plaintext = "ldap://"+p.address, true
}

func (p *proxy) serve(conn net.Conn, upstream string) {
	defer func() { _ = conn.Close() }()
	server, err := net.Dial("tcp", upstream)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	p.mu.Lock()
	p.conns[conn] = struct{}{}
	p.mu.Unlock()
	lost := make(chan struct{})
	var answers sync.WaitGroup
	answers.Go(func() {
		buffer := make([]byte, 64<<10)
		for {
			n, err := server.Read(buffer)
			if err != nil {
				_ = conn.Close()
				return
			}
			p.mu.Lock()
			hold := p.hold
			p.mu.Unlock()
			if hold != nil {
				<-hold
			}
			select {
			case <-lost: // carried out, and nobody hears of it
				_ = conn.Close()
				return
			default:
			}
			if _, err := conn.Write(buffer[:n]); err != nil {
				return
			}
		}
	})
	defer answers.Wait()
	defer func() { _ = server.Close() }()
	for {
		packet, err := ber.ReadPacket(conn)
		if err != nil {
			return
		}
		kind := uint8(packet.Children[1].Tag)
		p.mu.Lock()
		p.counts[kind]++
		if p.cutAfter != 0 && p.cutAfter == kind {
			p.cutAfter = 0
			close(lost)
		}
		p.mu.Unlock()
		if _, err := server.Write(packet.Bytes()); err != nil {
			return
		}
	}
}

func (p *proxy) requests() map[uint8]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.counts)
}

func (p *proxy) loseAnswerTo(kind uint8) {
	p.mu.Lock()
	p.cutAfter = kind
	p.mu.Unlock()
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close()
	}
	clear(p.conns)
}

func TestAnAnswerThatIsLostIsFoundAgain(t *testing.T) {
	t.Parallel()
	const addRequest, modifyDNRequest = 8, 12
	p := newProxy(t, strings.TrimPrefix(server.URL, "ldap://"))
	b := newBed(t, p.plain)
	p.loseAnswerTo(addRequest)
	d := department("a", "A", "")
	_, err := b.PutDepartment(t.Context(), d)
	requireClass(t, target.Transient, err)
	var failure *target.Error
	require.ErrorAs(t, err, &failure)
	require.True(t, failure.UnknownOutcome)
	d.Uncertain = true
	d.RemoteID = b.putDepartment(d)
	require.Equal(t, []string{"departments/A"}, b.paths())

	p.loseAnswerTo(modifyDNRequest)
	d.Name = "B"
	_, err = b.PutDepartment(t.Context(), d)
	requireClass(t, target.Transient, err)
	require.Equal(t, d.RemoteID, b.putDepartment(d))
	require.Equal(t, []string{"departments/B"}, b.paths())
}

func TestConnectionsThatWereCutAreOpenedAgain(t *testing.T) {
	t.Parallel()
	p := newProxy(t, strings.TrimPrefix(server.URL, "ldap://"))
	b := newBed(t, p.plain)
	for i := range 3 {
		p.cut()
		// The first operation may still find the connection dying.
		require.Eventually(t, func() bool {
			_, err := b.PutDepartment(t.Context(), department("a", "A", ""))
			return err == nil
		}, time.Minute, time.Millisecond, "round %d", i)
	}
	require.Equal(t, []string{"departments/A"}, b.paths())
}

func TestAServerThatStopsIsDownAndComesBack(t *testing.T) {
	t.Parallel()
	own, err := slapd.Start(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { own.Down() })
	c := open(t, ldap.Config{URL: own.URL, CAFile: own.CAFile, BindDN: slapd.Admin, Password: slapd.Password, BaseDN: slapd.Suffix})
	_, err = c.Describe(t.Context())
	require.NoError(t, err)
	id, err := c.PutDepartment(t.Context(), department("a", "A", ""))
	require.NoError(t, err)
	own.Down()
	require.Eventually(t, func() bool { // connections at rest notice first
		_, err := c.PutDepartment(t.Context(), department("b", "B", ""))
		return target.ClassOf(err) == target.Down
	}, time.Minute, time.Millisecond)
	require.NoError(t, own.Up())
	again, err := c.PutDepartment(t.Context(), with(department("a", "A2", ""), id))
	require.NoError(t, err)
	require.Equal(t, id, again)
}

func open(t *testing.T, config ldap.Config) *ldap.Connector {
	t.Helper()
	c, err := ldap.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestAServerThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	p := newProxy(t, strings.TrimPrefix(server.URL, "ldap://"))
	b := newBed(t, p.plain) // let in with patience
	b.config.Timeout = 200 * time.Millisecond
	impatient := open(t, b.config)
	require.Eventually(t, func() bool { // it has a connection, however slow the machine is
		_, err := impatient.Describe(t.Context())
		return err == nil
	}, time.Minute, time.Millisecond)
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	p.mu.Lock()
	p.hold = hold
	p.mu.Unlock()
	_, err := impatient.PutDepartment(t.Context(), department("a", "A", ""))
	requireClass(t, target.Transient, err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = impatient.PutDepartment(ctx, department("a", "A", ""))
	require.ErrorIs(t, err, context.Canceled)
}

func TestAnOperationEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p := newProxy(t, strings.TrimPrefix(server.URL, "ldap://"))
	b := newBed(t, p.plain)
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	before := p.requests()[3]
	p.mu.Lock()
	p.hold = hold
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := b.PutUser(ctx, user("zhang", ""))
		done <- err
	}()
	require.Eventually(t, func() bool { return p.requests()[3] > before }, time.Minute, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

// speak runs a server that answers every connection with raw bytes.
func speak(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = conn.Close() }()
				answer(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
	return "ldap://" + listener.Addr().String()
}

func TestAServerThatTalksNonsenseIsDown(t *testing.T) {
	t.Parallel()
	long := binary.BigEndian.AppendUint32([]byte{0x30, 0x84}, 1<<31-1) // a message of 2 GiB
	for name, answer := range map[string]func(net.Conn){
		"HTML":              func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n<html>") },
		"a message too big": func(c net.Conn) { _, _ = c.Write(long); _, _ = io.Copy(io.Discard, c) },
		"bytes for ever": func(c net.Conn) {
			for {
				if _, err := c.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		},
		"nothing":         func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		"a closed door":   func(net.Conn) {},
		"half a message":  func(c net.Conn) { _, _ = c.Write([]byte{0x30, 0x0c, 0x02, 0x01}) },
		"an empty packet": func(c net.Conn) { _, _ = c.Write([]byte{0x30, 0x00}); _, _ = io.Copy(io.Discard, c) },
		"no operation":    func(c net.Conn) { _, _ = c.Write([]byte{0x30, 0x03, 0x02, 0x01, 0x01}); _, _ = io.Copy(io.Discard, c) },
	} {
		for _, plaintext := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := open(t, ldap.Config{
					URL: speak(t, answer), Plaintext: plaintext, BindDN: slapd.Admin, Password: slapd.Password, BaseDN: slapd.Suffix, Timeout: 300 * time.Millisecond,
				})
				_, err := c.Describe(t.Context())
				requireClass(t, target.Down, err)
			})
		}
	}
}

// endless lets anybody in, and answers every search with entries without end.
func endless(conn net.Conn) {
	reply := func(id int64, operation *ber.Packet) []byte {
		message := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
		message.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
		message.AppendChild(operation)
		return message.Bytes()
	}
	for {
		request, err := ber.ReadPacket(conn)
		if err != nil || len(request.Children) < 2 {
			return
		}
		id, _ := request.Children[0].Value.(int64)
		if request.Children[1].Tag == 0 { // bind
			done := ber.Encode(ber.ClassApplication, ber.TypeConstructed, 1, nil, "")
			done.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, 0, ""))
			done.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
			done.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
			_, _ = conn.Write(reply(id, done))
			continue
		}
		entry := ber.Encode(ber.ClassApplication, ber.TypeConstructed, 4, nil, "")
		entry.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "cn="+strings.Repeat("x", 1<<20), ""))
		entry.AppendChild(ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, ""))
		for one := reply(id, entry); err == nil; {
			_, err = conn.Write(one)
		}
		return
	}
}

func TestEntriesWithoutEndAreNotReadToTheirEnd(t *testing.T) {
	t.Parallel()
	c := open(t, ldap.Config{
		URL: speak(t, endless), Plaintext: true, BindDN: slapd.Admin, Password: slapd.Password, BaseDN: slapd.Suffix, Timeout: time.Minute,
	})
	_, err := c.Describe(t.Context())
	requireClass(t, target.Down, err)
	require.ErrorContains(t, err, "larger than 64 MiB")
	_, err = c.PutUser(t.Context(), user("zhang", ""))
	require.ErrorContains(t, err, "larger than 64 MiB")
}

func TestWaysIn(t *testing.T) {
	t.Parallel()
	base := ldap.Config{BindDN: slapd.Admin, Password: slapd.Password, BaseDN: slapd.Suffix, CAFile: server.CAFile}
	for name, test := range map[string]struct {
		change func(*ldap.Config)
		want   string // of the error, empty for none
	}{
		"StartTLS":            {func(c *ldap.Config) { c.URL = server.URL }, ""},
		"LDAPS":               {func(c *ldap.Config) { c.URL = server.TLSURL }, ""},
		"plaintext":           {func(c *ldap.Config) { c.URL, c.Plaintext = server.URL, true }, ""},
		"StartTLS untrusted":  {func(c *ldap.Config) { c.URL, c.CAFile = server.URL, "" }, "set caFile"},
		"LDAPS untrusted":     {func(c *ldap.Config) { c.URL, c.CAFile = server.TLSURL, "" }, "set caFile"},
		"wrong password":      {func(c *ldap.Config) { c.URL, c.Password = server.URL, "wrong-password" }, "check the target's auth"},
		"unknown DN":          {func(c *ldap.Config) { c.URL, c.BindDN = server.URL, "cn=nobody,"+slapd.Suffix }, "check the target's auth"},
		"may not write":       {func(c *ldap.Config) { c.URL, c.BindDN = server.URL, slapd.Reader }, "check the rights"},
		"nobody":              {func(c *ldap.Config) { c.URL, c.BindDN, c.Password = server.URL, "", "" }, "does not exist or may not be read"},
		"no such base":        {func(c *ldap.Config) { c.URL, c.BaseDN = server.URL, "dc=elsewhere,dc=com" }, "baseDN"},
		"no remote id":        {func(c *ldap.Config) { c.URL, c.RemoteIDAttribute = server.URL, "objectGUID" }, "remoteIDAttribute"},
		"private address":     {func(c *ldap.Config) { c.URL, c.DenyPrivate = server.URL, true }, "allowPrivate"},
		"not LDAPS":           {func(c *ldap.Config) { c.URL = strings.Replace(server.URL, "ldap:", "ldaps:", 1) }, ""},
		"container not an ou": {func(c *ldap.Config) { c.URL, c.DepartmentsDN = server.URL, "cn=departments,"+c.BaseDN }, "make it yourself"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBase(t)
			config := base
			config.BaseDN = b.base
			test.change(&config)
			_, err := open(t, config).Describe(t.Context())
			if test.want == "" && name != "not LDAPS" {
				require.NoError(t, err)
				return
			}
			requireClass(t, target.Down, err)
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, err.Error(), "wrong-password")
		})
	}
}

// An entry that is guarded from us, such as Active Directory guards those of
// administrators, says nothing about the others: it must not stop the target.
func TestAnEntryThatMayNotBeWrittenIsItsOwnMatter(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *ldap.Config) { c.BindDN = slapd.Writer })
	zhang, wang := user("zhang", ""), user("wang", "")
	zhang.RemoteID, wang.RemoteID = b.putUser(zhang), b.putUser(wang)
	guard := ldapv3.NewModifyRequest("uid=zhang@acme,ou=departments,"+b.base, nil)
	guard.Replace("employeeType", []string{slapd.Guarded})
	require.NoError(t, b.admin.Modify(guard))
	zhang.Title, wang.Title = "boss", "boss"
	_, err := b.PutUser(t.Context(), zhang)
	requireClass(t, target.Permanent, err)
	require.ErrorContains(t, err, "check the rights")
	requireClass(t, target.Permanent, b.DeleteUser(t.Context(), zhang.Object))
	b.putUser(wang)
}

func TestASocketOfThisMachineIsAWayIn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ldapi")
	listener, err := net.Listen("unix", path)
	require.NoError(t, err)
	seen := make(chan struct{}, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			seen <- struct{}{}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close() })
	_, err = open(t, ldap.Config{URL: "ldapi://" + url.PathEscape(path), BaseDN: slapd.Suffix}).Describe(t.Context())
	requireClass(t, target.Down, err)
	<-seen
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	p := newProxy(t, strings.TrimPrefix(server.URL, "ldap://"))
	b := newBed(t, p.plain, func(c *ldap.Config) { c.Connections = 2 })
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			_, err := b.PutUser(t.Context(), user(fmt.Sprint(i), ""))
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	require.LessOrEqual(t, len(p.conns), 2)
	require.LessOrEqual(t, p.counts[0], 2, "a connection binds once")
}

func TestAClosedConnectorSendsNothing(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	require.NoError(t, b.Close())
	_, err := b.PutDepartment(t.Context(), department("a", "A", ""))
	requireClass(t, target.Down, err)
	require.Empty(t, b.paths())
}

func TestValidateNamesEveryFault(t *testing.T) {
	t.Parallel()
	good := ldap.Config{URL: "ldaps://ldap.example.com", BindDN: "cn=a", Password: "p", BaseDN: "dc=example,dc=com"}
	require.NoError(t, good.Validate())
	for name, test := range map[string]struct {
		change func(*ldap.Config)
		want   string
	}{
		"scheme":       {func(c *ldap.Config) { c.URL = "https://x" }, "url"},
		"host":         {func(c *ldap.Config) { c.URL = "ldap://" }, "url"},
		"path":         {func(c *ldap.Config) { c.URL = "ldap://x/dc=a" }, "url"},
		"credentials":  {func(c *ldap.Config) { c.URL = "ldap://a:b@x" }, "url"},
		"password":     {func(c *ldap.Config) { c.Password = "" }, "auth"},
		"base":         {func(c *ldap.Config) { c.BaseDN = "example.com" }, "baseDN"},
		"no base":      {func(c *ldap.Config) { c.BaseDN = "" }, "baseDN"},
		"departments":  {func(c *ldap.Config) { c.DepartmentsDN = "ou=x,dc=other" }, "departmentsDN"},
		"inactive":     {func(c *ldap.Config) { c.InactiveDN = "dc=example,dc=com" }, "inactiveDN"},
		"attribute":    {func(c *ldap.Config) { c.ExternalIDAttribute = "a)(b" }, "externalIDAttribute"},
		"remote id":    {func(c *ldap.Config) { c.RemoteIDAttribute = "*" }, "remoteIDAttribute"},
		"no value":     {func(c *ldap.Config) { c.InactiveAttribute = "nsAccountLock" }, "inactiveValue"},
		"time":         {func(c *ldap.Config) { c.Timeout = -1 }, "timeout"},
		"connections":  {func(c *ldap.Config) { c.Connections = -1 }, "connections"},
		"caFile (New)": {func(c *ldap.Config) { c.CAFile = "/nowhere.pem" }, "caFile"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := good
			test.change(&config)
			_, err := ldap.New(config)
			require.ErrorContains(t, err, test.want)
		})
	}
	require.ErrorContains(t, ldap.Config{}.Validate(), "url")
	require.ErrorContains(t, ldap.Config{}.Validate(), "baseDN")
}

// Somebody tidies up; nobody restarts the connector for it.
func TestAContainerThatWasDeletedIsMadeAgain(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	id := b.putUser(user("ann", ""))
	remove := func(name string) {
		dn := "ou=" + name + "," + b.base
		found, err := b.admin.Search(ldapv3.NewSearchRequest(dn, ldapv3.ScopeSingleLevel, ldapv3.NeverDerefAliases, 0, 0, false, "(objectClass=*)", nil, nil))
		require.NoError(t, err)
		for _, e := range found.Entries {
			require.NoError(t, b.admin.Del(ldapv3.NewDelRequest(e.DN, nil)))
		}
		require.NoError(t, b.admin.Del(ldapv3.NewDelRequest(dn, nil)))
	}
	remove("inactive")
	leaver := user("ann", "")
	leaver.RemoteID, leaver.Active = id, false
	require.Equal(t, id, b.putUser(leaver), "a leaver is barred at once")
	require.Contains(t, b.paths(), "inactive/ann@acme")

	remove("departments")
	back := user("ann", "")
	back.RemoteID = id
	require.Equal(t, id, b.putUser(back), "who comes back finds a place")
	require.Contains(t, b.paths(), "departments/ann@acme")
	remove("departments")
	b.putDepartment(department("a", "A", ""))
	remove("departments")
	b.putUser(user("bob", ""))
	require.ElementsMatch(t, []string{"departments/bob@acme"}, b.paths())
}

func TestAConflictAmongOurOwnEntriesNamesTheOther(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.putUser(user("ann", ""))
	other := user("ann2", "")
	other.UserName = "ann@acme"
	_, err := b.PutUser(t.Context(), other)
	requireClass(t, target.Conflict, err)
	require.ErrorContains(t, err, "is ours too, for prod/inst-1/t1/ann;")
	require.NotContains(t, err.Error(), "hand it over")
	details, _ := errors.AsType[*target.Error](err)
	require.Equal(t, scope.ExternalID("ann"), details.Holder)

	b.addPerson("uid=theirs@acme,ou=departments,"+b.base, nil)
	theirs := user("theirs", "")
	_, err = b.PutUser(t.Context(), theirs)
	requireClass(t, target.Conflict, err)
	require.ErrorContains(t, err, "hand it over")
}
