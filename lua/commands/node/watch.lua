--- watch: a seat map that follows what commits, or every change as a line. Seats and their
--- states only: nobody's customer, order or code.
local node = ...

--- Until the feed breaks off, or the `one` event is removed: that was its last change.
local function follow(ctx, feed, from, one)
    while true do
        local text, index, code = feed:next(10000)
        if text then
            if index > from then ctx:frame("change", text) end
            if one and text:find('"removed":true', 1, true) then return end
        elseif code then
            return nil, index, code
        end
    end
end

local function watch(ctx, req)
    if not ctx.streams then
        return nil, "watch shows what comes: this answer would never end", "BADARG",
            "SUBSCRIBE event:ID over RESP, or `usher watch` in a terminal"
    end
    local event = req.event
    while true do
        -- First the feed, then the seats: what commits between them is in both, and told apart
        -- by its index.
        local feed <close> = node.feed("changes", event or "")
        local from = 0
        if event then
            local seats, message, code = usher.seats { event, full = true }
            if not seats then return nil, message, code end
            from = seats.index
            ctx:frame("live", json.encode(seats))
        end
        local _, message, code = follow(ctx, feed, from, event)
        if not message then return nil, ("event %s has been removed"):format(event), "NOTFOUND" end
        if not event then return nil, message, code end
        ctx:progress(message .. "; beginning anew")
    end
end

return command {
    name = "watch", kind = "node", group = "events", access = "public",
    summary = "Seats as they change: the map of one event, or the changes of all as lines",
    example = "watch 1",
    args = { { "event", "event", optional = true, help = "its map; without it, changes of all events" } },
    run = watch,
}
