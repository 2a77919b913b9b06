--- Mirrors every change of a seat into files/changes.jsonl of each node: one JSON object a line, in
--- the order of the log, for whatever reads files. Put into the profile:
---     scripts = { "lua/hooks/mirror.lua" }
--- A line may come twice after a crash (docs/scripts.md), so a reader keeps the highest `index` it
--- has. Customers stay out of it.
on("commit", function(entry)
    local lines = {}
    if entry.missed then lines[1] = json.encode { index = entry.index, missed = entry.missed } .. "\n" end
    for _, change in ipairs(entry.changes) do
        lines[#lines + 1] = json.encode {
            index = entry.index, time = entry.time, event = change.event, seat = change.seat, area = change.area,
            count = change.count, from = change.from, to = change.to, reason = change.reason, order = change.order,
        } .. "\n"
    end
    if #lines == 0 then return end
    local done, message = append("changes.jsonl", table.concat(lines))
    if not done then error(message, 0) end
end, { where = "each" })

on("restore", function(snapshot)
    append("changes.jsonl", json.encode { index = snapshot.index, restored = true } .. "\n")
end)
