--- Commands about whoever asks: the session, scripts at work.
local node = ...

return {
    command {
        name = "whoami", kind = "node", group = "session", access = "public",
        summary = "The user of this connection, its access level and roles", example = "whoami",
        args = {},
        run = function(ctx) return ctx.user end,
    },
    command {
        name = "config", kind = "node", group = "session", access = "operator",
        summary = "The profile that the node runs with, without its secrets", example = "config",
        args = {},
        run = function() return node.config() end,
    },
    command {
        name = "commands", kind = "node", group = "session", access = "public",
        summary = "Definition of every command, for programs", example = "commands",
        args = {},
        run = function() return node.commands() end,
    },
}
