// Package config is the connector's configuration: one struct, whose tags are
// the truth about names, defaults and descriptions. docs/configuration.md is
// made from them.
//
// Later layers win: defaults, the YAML file, the environment, flags.
package config

import "time"

// Prefix stands before every name in the environment.
const Prefix = "ORGSYNC_"

// Config is the whole configuration. The tag koanf is the name in YAML, env the
// name in the environment without Prefix, default what holds when nothing is
// said. A Secret may also be given as the path of a file, under its name with
// _FILE.
type Config struct {
	Listen            string   `koanf:"listen" env:"LISTEN" default:":8080" desc:"Address to listen on, host:port or :port."`
	DataDir           string   `koanf:"dataDir" env:"DATA_DIR" default:"./data" desc:"Directory of the embedded store and of generated keys."`
	BasePath          string   `koanf:"basePath" env:"BASE_PATH" default:"/saasproduce" desc:"Path of the production address; the marketplace appends /produceAPI/v2/… itself."`
	PublicURL         string   `koanf:"publicUrl" env:"PUBLIC_URL" desc:"The production address as it is registered in the seller console, https://… with the path; orgsync doctor tries it."`
	KitAccessKeys     []Secret `koanf:"kitAccessKeys" env:"KIT_ACCESS_KEYS" desc:"Access keys (访问秘钥) of the kit's interfaces, two while rotating. Generated on first start."`
	BaseAccessKeys    []Secret `koanf:"baseAccessKeys" env:"BASE_ACCESS_KEYS" desc:"Access keys of the base interface; without any, those of the kit serve."`
	AppPrivateKeyFile string   `koanf:"appPrivateKeyFile" env:"APP_PRIVATE_KEY_FILE" desc:"RSA private key (PEM, at least 3072 bit) that opens clientSecret. Generated on first start."`
	EncryptionKey     Secret   `koanf:"encryptionKey" env:"ENCRYPTION_KEY" desc:"Base64 of 32 bytes that encrypt secrets at rest. Generated on first start."`

	PreviousEncryptionKeys []Secret `koanf:"previousEncryptionKeys" env:"PREVIOUS_ENCRYPTION_KEYS" desc:"Earlier encryption keys: they open what is not sealed anew yet (orgsync keys rotate)."`

	AdminToken    Secret `koanf:"adminToken" env:"ADMIN_TOKEN" desc:"Bearer token of the API and of /metrics. Generated on first start."`
	MongoURI      Secret `koanf:"mongoUri" env:"MONGO_URI" desc:"MongoDB to keep everything in, in place of the embedded store: any number of replicas may share it."`
	MongoDatabase string `koanf:"mongoDatabase" env:"MONGO_DATABASE" default:"orgsync" desc:"Database in MongoDB."`
	RedisURL      Secret `koanf:"redisUrl" env:"REDIS_URL" desc:"Redis by which replicas on one MongoDB coordinate. They are right without it, only slower."`

	Window       time.Duration `koanf:"window" env:"WINDOW" default:"60s" desc:"How old a push's timestamp may be."`
	Ahead        time.Duration `koanf:"ahead" env:"AHEAD" default:"5m" desc:"How far a push's timestamp may be ahead of this machine's clock."`
	AnswerWithin time.Duration `koanf:"answerWithin" env:"ANSWER_WITHIN" default:"15s" desc:"How long a call of the marketplace may take; it waits for 20s."`
	MaxBody      int64         `koanf:"maxBody" env:"MAX_BODY" default:"67108864" desc:"Largest body of a push, in bytes."`
	MaxBodies    int64         `koanf:"maxBodies" env:"MAX_BODIES" desc:"Of all bodies above 1 MiB at a time, in bytes, default four times maxBody; those from 16 KiB to 1 MiB have a quarter more. A push that finds no room is answered 000005, to be sent again."`
	Guard        Guard         `koanf:"guard"`
	Retention    Retention     `koanf:"retention"`
	Log          Log           `koanf:"log"`
	Interfaces   Interfaces    `koanf:"interfaces"`
	Instances    Instances     `koanf:"instances"`
	Targets      []Target      `koanf:"targets"`
}

// Guard holds deletions of a full push that exceed both bounds.
type Guard struct {
	MaxDeletes int `koanf:"maxDeletes" env:"GUARD_MAX_DELETES" default:"10" desc:"Departments that a full push may always delete."`
	MaxPercent int `koanf:"maxPercent" env:"GUARD_MAX_PERCENT" default:"20" desc:"Percentage of departments that a full push may always delete."`
}

// Retention says how long things are kept; zero keeps them for ever.
type Retention struct {
	Journal    time.Duration `koanf:"journal" env:"RETENTION_JOURNAL" default:"720h" desc:"How long pushes stay in the journal; 0 for ever."`
	Tombstones time.Duration `koanf:"tombstones" env:"RETENTION_TOMBSTONES" default:"2160h" desc:"How long what was deleted is remembered, so that a late push cannot bring it back; 0 for ever."`
	TestData   time.Duration `koanf:"testData" env:"RETENTION_TEST_DATA" default:"168h" desc:"How long debugging data (testFlag 1) is kept; 0 for ever."`
	Interval   time.Duration `koanf:"interval" env:"RETENTION_INTERVAL" default:"1h" desc:"How often the store is swept."`
}

// Log shapes the log.
type Log struct {
	Level  string `koanf:"level" env:"LOG_LEVEL" default:"info" desc:"debug, info, warn or error."`
	Format string `koanf:"format" env:"LOG_FORMAT" default:"text" desc:"text or json."`
}

// Target is a downstream identity provider. Defaults named in the tags are the
// fan-out's and the connector's own: an empty member takes them.
type Target struct {
	Name             string        `koanf:"name" desc:"Unique; appears in status, metrics and URLs."`
	Type             string        `koanf:"type" desc:"scim, webhook, ldap or keycloak."`
	URL              string        `koanf:"url" desc:"Base of the target's protocol."`
	Auth             Auth          `koanf:"auth"`
	Tenants          []string      `koanf:"tenants" desc:"tenantIds to deliver, * for all (the default). May be changed: one that is added is sent whole, what the target has of one that is taken out stays there as it is."`
	TestData         bool          `koanf:"testData" desc:"Deliver debugging data instead of production data."`
	OnRevoke         string        `koanf:"onRevoke" desc:"Account without a grant: deactivate (default), delete or keep."`
	OnDelete         string        `koanf:"onDelete" desc:"Deleted account: delete (default), deactivate or keep."`
	OnFreeze         string        `koanf:"onFreeze" desc:"All accounts of an instance that the marketplace has frozen: deactivate (default, until it is resumed) or nothing."`
	OnRelease        string        `koanf:"onRelease" desc:"All accounts of an instance that was released: deactivate, delete or nothing; by default as onFreeze."`
	UserNames        string        `koanf:"userNames" desc:"Sign-in names: qualified (userName@tenantCode, default) or plain."`
	Parents          string        `koanf:"parents" desc:"For scim: the tree as nested groups (nested, the default but for some profiles), or off."`
	Concurrency      int           `koanf:"concurrency" desc:"Requests under way at once, default 8."`
	MembersPerChange int           `koanf:"membersPerChange" desc:"For scim: members in one PATCH of a group, default 100."`
	Timeout          time.Duration `koanf:"timeout" desc:"Of one request, default 30s."`
	CAFile           string        `koanf:"caFile" desc:"PEM of further certificate authorities to trust."`
	AllowPrivate     *bool         `koanf:"allowPrivate" desc:"Whether private and loopback addresses may be dialled: by default not for webhook, but for the others. Link-local and metadata addresses never are."`
	ResyncEvery      time.Duration `koanf:"resyncEvery" desc:"How often the target is read out, compared and repaired, such as 24h; 0 for never (the default). Not for webhook."`
	Plaintext        bool          `koanf:"plaintext" desc:"Let credentials and personal data go unencrypted to another machine: http://, or ldap:// without StartTLS."`
	Realm            string        `koanf:"realm" desc:"For keycloak: the realm."`
	QuarantineAfter  int           `koanf:"quarantineAfter" desc:"Objects refused in a row after which the target is quarantined, default 20."`
	DeleteAfter      time.Duration `koanf:"deleteAfter" desc:"How long an account that is to be deleted is deactivated only, so that one that returns is not lost; 0 (the default) deletes at once."`
	Removals         Removals      `koanf:"removals"`
	Backoff          Backoff       `koanf:"backoff"`
	Rate             Rate          `koanf:"rate"`
	SCIM             SCIM          `koanf:"scim"`
	LDAP             LDAP          `koanf:"ldap"`
	Mapping          Mapping       `koanf:"mapping"`
}

// Mapping is expressions by the attribute that they set at the target.
type Mapping struct {
	User       map[string]string `koanf:"user" desc:"Attributes of an account and the expressions they are set by (docs/mapping.md)."`
	Department map[string]string `koanf:"department" desc:"Attributes of a department, likewise."`
}

// SCIM says how to speak to a target of type scim, where its profile's word is
// not to hold.
type SCIM struct {
	Profile       string `koanf:"profile" desc:"Whose client the server was built for: generic (default), entra, okta or aws; see targets/scim.md."`
	UserChanges   string `koanf:"userChanges" desc:"How accounts are changed: patch, put, or auto (patch where the server has it)."`
	GroupChanges  string `koanf:"groupChanges" desc:"How groups are changed: patch, put or auto."`
	Lookup        string `koanf:"lookup" desc:"What an object of unknown id is asked for by: externalId, or name where the server has no such filter."`
	MemberRemoval string `koanf:"memberRemoval" desc:"How a member that leaves is named: filter (a path with a filter) or value (a list). Servers that do not know value remove every member."`
	Groups        string `koanf:"groups" desc:"Whether the server has Groups: auto (as it says), on or off."`
	Bulk          string `koanf:"bulk" desc:"Whether bulk requests are used: auto (where the server offers them) or off."`
	Names         string `koanf:"names" desc:"formatted (the name whole), or split (given and family name too, for servers that want both)."`
	Discovery     string `koanf:"discovery" desc:"auto, or off: believe neither ResourceTypes nor Schemas."`
}

// Backoff bounds the waits between the attempts at a target.
type Backoff struct {
	Base time.Duration `koanf:"base" desc:"Wait after the first failure, default 1s; it doubles with each further one, and a part of it is drawn."`
	Max  time.Duration `koanf:"max" desc:"Longest wait after a failure, default 1h."`
}

// Rate bounds the requests to a target of all replicas together.
type Rate struct {
	PerSecond float64 `koanf:"perSecond" desc:"Requests a second at most, default as many as the target takes: it is sent fewer when it answers 429."`
	Burst     int     `koanf:"burst" desc:"Requests at once after a rest, default a second's worth."`
	Least     float64 `koanf:"least" desc:"Requests a second that refusals never slow it down below, default 1."`
}

// Removals bounds the deletions and deactivations at a target. What would
// exceed both bounds is held.
type Removals struct {
	MaxPerHour *int `koanf:"maxPerHour" desc:"Deletions and deactivations that are always made within an hour, default 20. What exceeds this and maxPercent waits for a decision (orgsync holds)."`
	MaxPercent *int `koanf:"maxPercent" desc:"Percentage of what the target has that may be deleted or deactivated within an hour, default 5; with 100 nothing is held."`
}

// LDAP is where a target of type ldap is written to.
type LDAP struct {
	BaseDN              string `koanf:"baseDN" desc:"What everything is looked for below; must exist."`
	DepartmentsDN       string `koanf:"departmentsDN" desc:"Root of the tree, default ou=departments below baseDN."`
	InactiveDN          string `koanf:"inactiveDN" desc:"Where accounts go that may not sign in, default ou=inactive below baseDN."`
	InactiveAttribute   string `koanf:"inactiveAttribute" desc:"Attribute that bars an account in place of a move, such as nsAccountLock."`
	InactiveValue       string `koanf:"inactiveValue" desc:"What inactiveAttribute is set to, such as TRUE."`
	ExternalIDAttribute string `koanf:"externalIDAttribute" desc:"Attribute that keeps our name for an entry, default businessCategory."`
	RemoteIDAttribute   string `koanf:"remoteIDAttribute" desc:"Attribute that names an entry for good, default entryUUID."`
}

// Auth is how a target lets us in.
type Auth struct {
	Type         string   `koanf:"type" desc:"bearer, basic, signature or none (the default). webhook wants signature; ldap and keycloak want basic."`
	Token        Secret   `koanf:"token" desc:"Bearer token."`
	TokenFile    string   `koanf:"tokenFile" desc:"File that holds the bearer token."`
	UserName     string   `koanf:"userName" desc:"Of basic authentication; for ldap the DN to bind as, for keycloak the client's id."`
	Password     Secret   `koanf:"password" desc:"Of basic authentication; for keycloak the client's secret."`
	PasswordFile string   `koanf:"passwordFile" desc:"File that holds the password."`
	Secrets      []Secret `koanf:"secrets" desc:"Of signature: whsec_ and Base64, while rotating two, the new one first."`
	SecretsFile  string   `koanf:"secretsFile" desc:"File that holds the secrets, a line each."`
}

// SigningSecrets returns the secrets that sign a webhook's messages.
func (a *Auth) SigningSecrets() []string { return reveal(a.Secrets) }

// KitKeys returns the access keys of the kit's interfaces.
func (c *Config) KitKeys() []string { return reveal(c.KitAccessKeys) }
