--- Backups and snapshots (docs/operate.md). `usher backup FILE` and `backup FILE` in a console
--- write FILE where the operator is and never come here; over RESP and from scripts the file is
--- this node's.
local node = ...

return {
    command {
        name = "backup", kind = "node", group = "cluster", access = "admin",
        summary = "Writes everything up to now into one file, from any node, while serving",
        example = "backup monday.usher",
        args = { { "file", "string", meta = "FILE",
            help = "a new file; over RESP and in scripts a plain name below backups/ of the node's data" } },
        options = { { "stale", "bool", help = "what this node has, without asking a leader" } },
        run = function(ctx, req)
            ctx:progress("writing a snapshot of everything acknowledged so far")
            local facts, message, code, hint = node.backup(req.file, req.stale)
            if not facts then return nil, message, code, hint end
            return facts
        end,
    },
    command {
        name = "snapshot", kind = "node", group = "cluster", access = "admin",
        summary = "Writes a snapshot on the node that is asked, so that its log gets short",
        example = "snapshot",
        args = {},
        run = function()
            local done, message, code, hint = node.snapshot()
            if not done then return nil, message, code, hint end
            local entry = node.status().snapshot
            return {
                snapshot = entry, bytes = node.snapshot_bytes(), counts = node.counts(),
                message = ("This node has its state up to entry %d in a snapshot and needs no older log.")
                    :format(entry),
            }
        end,
    },
}
