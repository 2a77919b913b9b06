--- What the console itself does with a line: here so that help and completion know of it.

local function own(name, text)
    return function() return nil, ("`%s` is the console's own: %s"):format(name, text), "BADARG" end
end

return {
    command {
        name = "history", kind = "node", group = "session", access = "public",
        summary = "What was typed before, over sessions; Ctrl-R searches it", example = "history 20",
        args = { { "count", "int", optional = true, help = "only so many, the newest" } },
        run = own("history", "type it in a terminal"),
    },
    command {
        name = "exit", aliases = { "quit" }, kind = "node", group = "session", access = "public",
        summary = "Leave the console; the node goes on", example = "exit",
        args = {},
        run = own("exit", "it leaves `usher console`"),
    },
}
