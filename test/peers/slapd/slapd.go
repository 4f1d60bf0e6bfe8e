// Package slapd runs Debian's OpenLDAP server for tests: unprivileged, on free
// ports, in a directory of its own, gone with the test.
package slapd

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	ldapv3 "github.com/go-ldap/ldap/v3"

	"github.com/openkoo/connector/test/peers/port"
)

// What every server is made with.
const (
	Suffix   = "dc=example,dc=com"
	Admin    = "cn=admin," + Suffix
	Password = "bind-password"
	// Reader may bind with Password and read, but not write.
	Reader = "cn=reader," + Suffix
	// Writer may bind with Password, and read and write all but the entries whose
	// employeeType is Guarded, which it may read.
	Writer  = "cn=writer," + Suffix
	Guarded = "guarded"
	// SizeLimit bounds the entries of a search without paging.
	SizeLimit = 100
)

// startTimeout bounds how long the server may take to answer.
const startTimeout = 2 * time.Minute

// Server is a running slapd.
type Server struct {
	URL    string // ldap://, which offers StartTLS
	TLSURL string // ldaps://
	CAFile string // the authority of its certificate

	dir, path string
	stop      func()
}

// Start makes a server with an empty directory in dir, which must not hold one.
func Start(dir string) (*Server, error) {
	path, err := find()
	if err != nil {
		return nil, err
	}
	plain, err := port.Free()
	if err != nil {
		return nil, err
	}
	secure, err := port.Free()
	if err != nil {
		return nil, err
	}
	s := &Server{
		URL: "ldap://127.0.0.1:" + plain, TLSURL: "ldaps://127.0.0.1:" + secure, CAFile: filepath.Join(dir, "ca.pem"), dir: dir, path: path,
	}
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		return nil, fmt.Errorf("slapd: %w", err)
	}
	if err := certify(dir); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "slapd.conf"), []byte(configuration(dir)), 0o600); err != nil {
		return nil, fmt.Errorf("slapd: %w", err)
	}
	if err := s.Up(); err != nil {
		return nil, err
	}
	return s, s.seed()
}

func configuration(dir string) string {
	return strings.NewReplacer("DIR", dir, "SUFFIX", Suffix, "ADMIN", Admin, "READER", Reader, "WRITER", Writer, "GUARDED", Guarded, "PASSWORD", Password, "LIMIT", strconv.Itoa(SizeLimit)).Replace(`
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile DIR/slapd.pid
argsfile DIR/slapd.args
modulepath /usr/lib/ldap
moduleload back_mdb
sizelimit LIMIT
TLSCACertificateFile DIR/ca.pem
TLSCertificateFile DIR/cert.pem
TLSCertificateKeyFile DIR/key.pem
access to dn.base="" by * read
database mdb
maxsize 268435456
suffix "SUFFIX"
rootdn "ADMIN"
rootpw PASSWORD
directory DIR/db
dbnosync
index objectClass,ou,uid,businessCategory,entryUUID eq
access to attrs=userPassword by anonymous auth
access to filter=(employeeType=GUARDED) by dn.exact="READER" read by dn.exact="WRITER" read by * none
access to * by dn.exact="READER" read by dn.exact="WRITER" write by * none
limits dn.exact="ADMIN" size.soft=LIMIT size.hard=LIMIT size.prtotal=unlimited
`)
}

// Up starts the server (again) and waits until it answers.
func (s *Server) Up() error {
	var log bytes.Buffer
	cmd := exec.Command(s.path, "-f", filepath.Join(s.dir, "slapd.conf"), "-h", s.URL+"/ "+s.TLSURL+"/", "-d", "0")
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		// The kernel sends Pdeathsig when the thread that forked ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("slapd: start: %w", err)
	}
	s.stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(startTimeout):
			_ = cmd.Process.Kill()
			<-ended
		}
	}
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		conn, err := ldapv3.DialURL(s.URL)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ended:
			return fmt.Errorf("slapd: ended at once: %s", log.String())
		default:
		}
		if time.Now().After(deadline) {
			s.stop()
			return fmt.Errorf("slapd: does not answer: %w", err)
		}
	}
}

// Down stops the server; its data stays.
func (s *Server) Down() { s.stop() }

// Client is bound as Admin.
func (s *Server) Client() (*ldapv3.Conn, error) {
	conn, err := ldapv3.DialURL(s.URL)
	if err != nil {
		return nil, fmt.Errorf("slapd: %w", err)
	}
	if err := conn.Bind(Admin, Password); err != nil {
		return nil, errors.Join(fmt.Errorf("slapd: %w", err), conn.Close())
	}
	return conn, nil
}

// seed makes the suffix, the reader and the writer.
func (s *Server) seed() error {
	conn, err := s.Client()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	root := ldapv3.NewAddRequest(Suffix, nil)
	root.Attribute("objectClass", []string{"top", "dcObject", "organization"})
	root.Attribute("o", []string{"Example"})
	root.Attribute("dc", []string{"example"})
	errs := []error{conn.Add(root)}
	for name, dn := range map[string]string{"reader": Reader, "writer": Writer} {
		person := ldapv3.NewAddRequest(dn, nil)
		person.Attribute("objectClass", []string{"top", "person"})
		person.Attribute("cn", []string{name})
		person.Attribute("sn", []string{name})
		person.Attribute("userPassword", []string{Password})
		errs = append(errs, conn.Add(person))
	}
	return errors.Join(errs...)
}

// find is the path of slapd, which is installed if that is possible.
func find() (string, error) {
	const usual = "/usr/sbin/slapd"
	if path, err := exec.LookPath("slapd"); err == nil {
		return path, nil
	}
	if _, err := os.Stat(usual); err == nil {
		return usual, nil
	}
	apt, err := exec.LookPath("apt-get")
	if err != nil || os.Getuid() != 0 {
		return "", errors.New("slapd is not installed; install it (Debian: apt-get install slapd) and run the tests again")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for _, args := range [][]string{{"update"}, {"install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120", "slapd"}} {
		cmd := exec.CommandContext(ctx, apt, args...)
		// The package must not start a server of its own.
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("apt-get %s: %w: %s", args[0], err, out)
		}
	}
	return usual, nil
}

// certify makes an authority and a certificate for 127.0.0.1 and localhost.
func certify(dir string) error {
	now := time.Now()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("slapd: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("slapd: %w", err)
	}
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	if err != nil {
		return fmt.Errorf("slapd: %w", err)
	}
	serverDER, err := x509.CreateCertificate(rand.Reader, server, authority, key.Public(), authorityKey)
	if err != nil {
		return fmt.Errorf("slapd: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("slapd: %w", err)
	}
	for _, f := range []struct {
		name, kind string
		der        []byte
	}{{"ca.pem", "CERTIFICATE", authorityDER}, {"cert.pem", "CERTIFICATE", serverDER}, {"key.pem", "PRIVATE KEY", keyDER}} {
		text := pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der})
		if err := os.WriteFile(filepath.Join(dir, f.name), text, 0o600); err != nil {
			return fmt.Errorf("slapd: %w", err)
		}
	}
	return nil
}
