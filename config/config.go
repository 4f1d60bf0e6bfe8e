// Package config is the connector's configuration: one struct, whose tags are
// the truth about names, defaults and descriptions.
//
// Later layers win: defaults, the YAML file, the environment, flags.
package config

import "time"

// Prefix stands before every name in the environment.
const Prefix = "ORGSYNC_"

// Config is the whole configuration. The tag koanf is the name in YAML, env the
// name in the environment without Prefix; a secret may also be given as the
// path of a file, under its name with _FILE.
type Config struct {
	Listen            string   `koanf:"listen" env:"LISTEN" default:":8080" desc:"Address to listen on."`
	DataDir           string   `koanf:"dataDir" env:"DATA_DIR" default:"./data" desc:"Directory of the embedded store and of generated keys."`
	BasePath          string   `koanf:"basePath" env:"BASE_PATH" default:"/saasproduce" desc:"Path of the production address."`
	KitAccessKeys     []string `koanf:"kitAccessKeys" env:"KIT_ACCESS_KEYS" secret:"true" desc:"Access keys of the kit's interfaces, two while rotating. Generated on first start."`
	BaseAccessKeys    []string `koanf:"baseAccessKeys" env:"BASE_ACCESS_KEYS" secret:"true" desc:"Access keys of the base interface."`
	AppPrivateKeyFile string   `koanf:"appPrivateKeyFile" env:"APP_PRIVATE_KEY_FILE" desc:"RSA private key (PEM, at least 3072 bit) that opens clientSecret. Generated on first start."`
	EncryptionKey     string   `koanf:"encryptionKey" env:"ENCRYPTION_KEY" secret:"true" desc:"Base64 of 32 bytes that encrypt secrets at rest. Generated on first start."`
	AdminToken        string   `koanf:"adminToken" env:"ADMIN_TOKEN" secret:"true" desc:"Bearer token of the API. Generated on first start."`
	MongoURI          string   `koanf:"mongoUri" env:"MONGO_URI" secret:"true" desc:"MongoDB to use in place of the embedded store. Not in this version."`
	MongoDatabase     string   `koanf:"mongoDatabase" env:"MONGO_DATABASE" default:"orgsync" desc:"Database in MongoDB."`
	RedisURL          string   `koanf:"redisUrl" env:"REDIS_URL" secret:"true" desc:"Redis that coordinates replicas. Not in this version."`

	Window     time.Duration `koanf:"window" env:"WINDOW" default:"60s" desc:"How far a push's timestamp may be from now."`
	MaxBody    int64         `koanf:"maxBody" env:"MAX_BODY" default:"67108864" desc:"Largest body of a push, in bytes."`
	Guard      Guard         `koanf:"guard"`
	Retention  Retention     `koanf:"retention"`
	Log        Log           `koanf:"log"`
	Interfaces Interfaces    `koanf:"interfaces"`
	Instances  Instances     `koanf:"instances"`
	Targets    []Target      `koanf:"targets"`
}

// Guard holds deletions of a full push that exceed both bounds.
type Guard struct {
	MaxDeletes int `koanf:"maxDeletes" env:"GUARD_MAX_DELETES" default:"10" desc:"Departments that a full push may always delete."`
	MaxPercent int `koanf:"maxPercent" env:"GUARD_MAX_PERCENT" default:"20" desc:"Percentage of departments that a full push may always delete."`
}

// Retention says how long things are kept.
type Retention struct {
	Journal    time.Duration `koanf:"journal" env:"RETENTION_JOURNAL" default:"720h" desc:"Pushes in the journal."`
	Tombstones time.Duration `koanf:"tombstones" env:"RETENTION_TOMBSTONES" default:"2160h" desc:"What was deleted, so that a late push cannot bring it back."`
	TestData   time.Duration `koanf:"testData" env:"RETENTION_TEST_DATA" default:"168h" desc:"Debugging data (testFlag 1)."`
	Interval   time.Duration `koanf:"interval" env:"RETENTION_INTERVAL" default:"1h" desc:"How often the store is swept."`
}

// Log shapes the log.
type Log struct {
	Level  string `koanf:"level" env:"LOG_LEVEL" default:"info" desc:"debug, info, warn or error."`
	Format string `koanf:"format" env:"LOG_FORMAT" default:"text" desc:"text or json."`
}

// Target is a downstream identity provider.
type Target struct {
	Name             string        `koanf:"name" desc:"Unique; appears in status, metrics and URLs."`
	Type             string        `koanf:"type" desc:"scim."`
	URL              string        `koanf:"url" desc:"Base of the target's protocol."`
	Auth             Auth          `koanf:"auth"`
	Tenants          []string      `koanf:"tenants" desc:"tenantIds to deliver, * for all (the default)."`
	TestData         bool          `koanf:"testData" desc:"Deliver debugging data instead of production data."`
	OnRevoke         string        `koanf:"onRevoke" desc:"Account without a grant: deactivate (default), delete or keep."`
	OnDelete         string        `koanf:"onDelete" desc:"Deleted account: delete (default), deactivate or keep."`
	UserNames        string        `koanf:"userNames" desc:"Sign-in names: qualified (userName@tenantCode, default) or plain."`
	Parents          string        `koanf:"parents" desc:"The tree as nested groups (default), or off."`
	Concurrency      int           `koanf:"concurrency" desc:"Requests under way at once, default 8."`
	MembersPerChange int           `koanf:"membersPerChange" desc:"Members in one PATCH of a group, default 100."`
	Timeout          time.Duration `koanf:"timeout" desc:"Of one request, default 30s."`
	CAFile           string        `koanf:"caFile" desc:"PEM of further certificate authorities to trust."`
}

// Auth is how a target lets us in.
type Auth struct {
	Type         string `koanf:"type" desc:"bearer, basic or none."`
	Token        string `koanf:"token" secret:"true" desc:"Bearer token."`
	TokenFile    string `koanf:"tokenFile" desc:"File that holds the bearer token."`
	UserName     string `koanf:"userName" desc:"Of basic authentication."`
	Password     string `koanf:"password" secret:"true" desc:"Of basic authentication."`
	PasswordFile string `koanf:"passwordFile" desc:"File that holds the password."`
}
