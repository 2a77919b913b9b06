--- log: what the entries of the replicated log say.
local node = ...

local COLUMNS = { "index", "term", "time", "user", "what" }

local LIST_MAX = 1000 -- rows of an answer, as far as entries can be kept whole

--- A word that is too long for a line ends behind one of its characters.
local function shorten(word)
    if #word <= 80 then return word end
    local to = 77
    while to > 0 and word:byte(to + 1) & 0xC0 == 0x80 do to = to - 1 end
    return word:sub(1, to) .. "..."
end

local function plain(word)
    if word:find("%s") or word == "" then return "'" .. word .. "'" end
    return shorten(word)
end

local function text_of(transaction)
    local words = { transaction.command }
    for _, word in ipairs(transaction.words) do words[#words + 1] = plain(word) end
    if transaction.code then words[#words + 1] = "-> " .. transaction.code end
    return table.concat(words, " ")
end

--- Rows of one entry: one per transaction.
local function rows_of(entry, into)
    local function add(user, what, transaction)
        into[#into + 1] = {
            index = entry.index, term = entry.term, time = entry.time, user = user ~= "" and user or nil,
            what = what, kind = entry.kind, request = transaction and transaction.request ~= "" and
                transaction.request or nil, effects = transaction and transaction.effects,
        }
    end
    if not entry.transactions or #entry.transactions == 0 then
        local what = entry.kind == "change" and "(members of the cluster)" or
            entry.unreadable and "(" .. entry.unreadable .. ")" or "(" .. entry.kind .. ")"
        add("", what)
        return
    end
    for _, transaction in ipairs(entry.transactions) do
        local what = text_of(transaction)
        if transaction.command == "" then -- the node's own: expiry, dropping, records
            what = #transaction.effects > 0 and table.concat(transaction.effects, ", ") or "(nothing)"
        end
        add(transaction.user, what, transaction)
    end
end

--- Rows of these entries, as many as one answer has, and the last entry that is among them.
local function read(first, last)
    local rows = json.list()
    for index = first, last do
        local entry = node.entry(index)
        if entry then rows_of(entry, rows) end
        if #rows >= LIST_MAX then return rows, index end
    end
    return rows, last
end

--- "7", "7..12", "7..", "..12" -> first, last
local function range_of(text, oldest, newest, limit)
    if not text then return math.max(oldest, newest - limit + 1), newest end
    local single = text:match("^%d+$")
    if single then return math.tointeger(tonumber(single)), math.tointeger(tonumber(single)) end
    local from, to = text:match("^(%d*)%.%.(%d*)$")
    if not from or (from == "" and to == "") then return nil end
    local first = from ~= "" and math.tointeger(tonumber(from)) or oldest
    local last = to ~= "" and math.tointeger(tonumber(to)) or newest
    return first, last
end

local function follow(ctx, from)
    local feed <close> = node.feed("commits")
    while true do
        local _, newest = node.log_range()
        while from <= newest do
            local rows, last = read(from, newest)
            for _, row in ipairs(rows) do ctx:row(row) end
            from = last + 1
        end
        local text, why, code = feed:next(10000)
        if not text and code then return nil, why, code end
    end
end

local function log(ctx, req)
    local oldest, newest = node.log_range()
    local limit = req.limit or 20
    if limit < 1 or limit > LIST_MAX then return nil, ("--limit is 1 to %d"):format(LIST_MAX), "BADARG" end
    local first, last = range_of(req.range, oldest, newest, limit)
    if not first then return nil, ("`%s` is no range of the log"):format(req.range), "BADARG",
        "write an index, 7..12, 7.. or ..12" end
    if first > last and not req.follow then
        return nil, ("the range %d..%d is empty"):format(first, last), "BADARG" end
    if last < oldest and not req.follow then
        return nil, ("entries before %d are in a snapshot and no longer in the log"):format(oldest), "NOTFOUND"
    end
    if first > newest and not req.follow then
        return nil, ("entry %d has not been committed here; the newest is %d"):format(first, newest), "NOTFOUND"
    end
    first = math.max(first, oldest)
    if req.follow then
        if not ctx.streams then
            return nil, "--follow shows what comes: this answer would never end", "BADARG",
                "run it in a console or with `usher log --follow`"
        end
        ctx:columns(COLUMNS)
        return follow(ctx, first)
    end
    last = math.min(last, newest)
    local rows, shown = read(first, last)
    if shown < last then rows[#rows + 1] = { more = true, next = ("log %d..%d"):format(shown + 1, last) } end
    return rows, { columns = COLUMNS }
end

return command {
    name = "log", kind = "node", group = "cluster", access = "operator",
    summary = "Entries of the replicated log, decoded: index, term, time, user, what", example = "log 7..12",
    args = { { "range", "string", optional = true, meta = "FROM..TO", help = "an index or a range; else the newest" } },
    options = {
        { "limit", "int", meta = "N", help = "how many without a range, 20 if not given" },
        { "follow", "bool", help = "go on with what commits, until Ctrl-C" },
    },
    run = log,
}
