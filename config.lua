-- Profiles of clusters: `usher node --id N --config PROFILE` starts node N of one.
-- A profile is a list of addresses, or a table (docs/config.md lists its keys).
return {
    default = { "localhost:6000", "localhost:6001", "localhost:6002" },

    staging = {
        nodes = { "localhost:6222", "localhost:6223", "localhost:6224" },
        secret = env("USHER_SECRET", "only a test on one machine"),
    },

    production = {
        nodes = { "a.example:6222", "b.example:6222", "c.example:6222" },
        data = "/var/lib/usher",
        secret = env "USHER_SECRET",
        users = {
            app = { password = env "USHER_APP_PASSWORD", access = "client" },
            admin = { password = env "USHER_ADMIN_PASSWORD", access = "admin" },
        },
    },
}
