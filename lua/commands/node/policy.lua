--- `policy VERB ...`: the life of the cluster's policy. Versions live in the replicated state
--- (lua/commands/policies.lua); this file looks, compares and rehearses. The programs of a
--- client read a policy's files, run its specs and hand them over as JSON
--- (src/console/policy*.c); over RESP and in scripts the source is that JSON itself.
local node = ...

-- ---- Differences ---------------------------------------------------------------------

local function lines_of(text)
    local out = {}
    for line in (text:sub(-1) == "\n" and text or text .. "\n"):gmatch("(.-)\n") do out[#out + 1] = line end
    return out
end

local CELLS_MAX = 1000000 -- of the table below; larger files are shown as replaced
local CONTEXT = 2

-- Longest common subsequence of what differs between common ends: list of { sign, line }.
local function compare(a, b)
    local out, first = {}, 1
    while first <= #a and first <= #b and a[first] == b[first] do
        out[#out + 1] = { " ", a[first] }
        first = first + 1
    end
    local la, lb = #a, #b
    while la >= first and lb >= first and a[la] == b[lb] do la, lb = la - 1, lb - 1 end
    local n, m = la - first + 1, lb - first + 1
    if n * m > CELLS_MAX then n, m = 0, 0 end
    local length = {}
    for i = n, 0, -1 do
        length[i] = {}
        for k = m, 0, -1 do
            if i == n or k == m then
                length[i][k] = 0
            elseif a[first + i] == b[first + k] then
                length[i][k] = length[i + 1][k + 1] + 1
            else
                length[i][k] = math.max(length[i + 1][k], length[i][k + 1])
            end
        end
    end
    local i, k = 0, 0
    while i < n and k < m do
        if a[first + i] == b[first + k] then
            out[#out + 1] = { " ", a[first + i] }
            i, k = i + 1, k + 1
        elseif length[i + 1][k] >= length[i][k + 1] then
            out[#out + 1] = { "-", a[first + i] }
            i = i + 1
        else
            out[#out + 1] = { "+", b[first + k] }
            k = k + 1
        end
    end
    for x = first + i, la do out[#out + 1] = { "-", a[x] } end
    for x = first + k, lb do out[#out + 1] = { "+", b[x] } end
    for x = la + 1, #a do out[#out + 1] = { " ", a[x] } end
    return out
end

-- Only what is near a change; nil when there is none.
local function shown(changes)
    local keep, any = {}, false
    for i, change in ipairs(changes) do
        if change[1] ~= " " then
            any = true
            for near = i - CONTEXT, i + CONTEXT do keep[near] = true end
        end
    end
    if not any then return nil end
    local out, gap = {}, false
    for i, change in ipairs(changes) do
        if keep[i] then
            if gap then out[#out + 1] = "  ..." end
            gap = false
            out[#out + 1] = change[1] .. " " .. change[2]
        else
            gap = true
        end
    end
    return table.concat(out, "\n")
end

local function names_of(a, b)
    local set, out = {}, {}
    for name in pairs(a) do set[name] = true end
    for name in pairs(b) do set[name] = true end
    for name in pairs(set) do out[#out + 1] = name end
    table.sort(out)
    return out
end

local function difference(a, b, from, to)
    local parts = {}
    for _, name in ipairs(names_of(a, b)) do
        local text = shown(compare(a[name] and lines_of(a[name]) or {}, b[name] and lines_of(b[name]) or {}))
        if text then
            parts[#parts + 1] = ("--- %s of %s\n+++ %s of %s\n%s"):format(a[name] and name or "(no file)", from,
                b[name] and name or "(no file)", to, text)
        end
    end
    return table.concat(parts, "\n")
end

-- ---- Verbs ------------------------------------------------------------------------------

local verbs = {}

-- The third result of a failed call is its code: passed on as it came.
local function refuse(message, code) return nil, message, code or "BADARG" end

local function no_more(req, most, usage)
    if #req.words > most then return refuse(("policy %s takes %s"):format(req.verb, usage)) end
    return true
end

local function version_of(word)
    local n = word and math.tointeger(tonumber(word))
    return n and n >= 0 and n or nil
end

-- The files of a version; of the newest when no number is given.
local function stored(version)
    if not version then
        local list, message, code, hint = usher.policies {}
        if not list then return nil, message, code, hint end
        version = list[1] and list[1].version or 0
    end
    local record, message, code, hint = usher.policies { version }
    if not record then return nil, message, code, hint end
    return record.files, version, record
end

-- The same to compare and to rehearse: of the default behaviour its policy alone, not the commands.
local function policy_of(version)
    local files, found, code, hint = stored(version)
    if found == 0 then files = { ["policy.lua"] = files["policy.lua"] } end
    return files, found, code, hint
end

local function files_of(source)
    if not source:find("^%s*{") then return { ["policy.lua"] = source } end
    local files, message = json.decode(source)
    if type(files) ~= "table" then return nil, "source: " .. tostring(message), "BADARG" end
    return files
end

function verbs.list()
    local list, message, code, hint = usher.policies {}
    if not list then return nil, message, code, hint end
    local active = node.policy().version
    for _, one in ipairs(list) do
        one.active = one.version == active
        one.sha256 = one.sha256:sub(1, 12)
    end
    return list, { columns = { "version", "active", "name", "restored", "author", "time", "sha256", "files", "bytes" } }
end

local DEFAULT = "-- version 0, the default policy: what is there before one is deployed. Its commands are modules "
    .. "that a bundle\n-- can take over and change (commands = { require \"take\" }): policy show 0 --only take.lua"

function verbs.show(req)
    local ok, why, what = no_more(req, 1, "at most a version")
    if not ok then return nil, why, what end
    local version = version_of(req.words[1])
    if req.words[1] and not version then return refuse("policy show takes a version's number") end
    local files, found, record, hint = stored(version)
    if not files then return nil, found, record, hint end
    local parts = { found == 0 and DEFAULT or ("-- version %d of %s, SHA-256 %s"):format(found,
        record.author ~= "" and record.author or "nobody in particular", record.sha256) }
    local only = req.only or (found == 0 and "policy.lua") or nil
    for _, name in ipairs(names_of(files, {})) do
        if not only or only == name then
            parts[#parts + 1] = ("-- %s\n%s"):format(name, (files[name]:gsub("\n$", "")))
        end
    end
    if #parts == 1 then return refuse(("version %d has no file %s"):format(found, req.only), "NOTFOUND") end
    return table.concat(parts, "\n")
end

function verbs.check(req)
    if not req.words[1] or #req.words > 1 then return refuse("policy check takes one bundle") end
    local answer, message, code, hint = usher.deploy_policy { req.words[1], dry_run = true }
    if not answer then return nil, message, code, hint end
    return { right = true, already = answer.already or nil }
end

function verbs.diff(req)
    local ok, why, what = no_more(req, 2, "a bundle or one or two versions")
    if not ok then return nil, why, what end
    if not req.words[1] then return refuse("policy diff takes a bundle or one or two versions") end
    local first, second = req.words[1], req.words[2]
    local a, from, code, hint = policy_of(version_of(first))
    if not a then return nil, from, code, hint end
    local b, to
    if second then
        if not (version_of(first) and version_of(second)) then return refuse("policy diff takes versions' numbers") end
        b, to, code, hint = policy_of(version_of(second))
    elseif version_of(first) then
        b, to, code, hint = policy_of()
    else
        b, to, code = files_of(first)
        if b then to = "yours" end
    end
    if not b then return nil, to, code, hint end
    from, to = "version " .. from, type(to) == "number" and "version " .. to or to
    local text = difference(a, b, from, to)
    return text ~= "" and text or ("no difference between %s and %s"):format(from, to)
end

local function done(answer, message, code, hint)
    if not answer then return nil, message, code, hint end
    answer.dry_run, answer.rules = nil, nil
    return answer
end

function verbs.deploy(req)
    if not req.words[1] or #req.words > 1 then
        return refuse("policy deploy takes one bundle; `usher policy deploy PATH` reads it from files")
    end
    local expect = req.expect
    if not expect then -- the version seen when it was asked for
        local files, version, code, hint = stored()
        if not files then return nil, version, code, hint end
        expect = version
    end
    return done(usher.deploy_policy { req.words[1], expect = expect, author = req.author, request = req.request })
end

function verbs.rollback(req)
    local ok, why, what = no_more(req, 1, "at most a version")
    if not ok then return nil, why, what end
    local version = version_of(req.words[1])
    if req.words[1] and not version then return refuse("policy rollback takes a version's number") end
    return done(usher.rollback_policy { version, expect = req.expect, author = req.author, request = req.request })
end

-- Who may do what, as this node's profile says today: the log keeps only names.
local function users()
    local out = {}
    for name, user in pairs(node.config().users or {}) do
        out[#out + 1] = { name = name, access = user.access, roles = user.roles }
    end
    return out
end

local UNITS = { s = 1000, m = 60000, h = 3600000, d = 86400000 }
local MONTHS = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

-- "5m": so long ago. Else ms since 1970, or a UTC time as every argument `time` takes it. nil: neither.
local function moment(text)
    local count, unit = text:match("^(%d%d?%d?%d?%d?%d?)([smhd])$")
    if count then return math.max(0, now() - math.tointeger(count) * UNITS[unit]) end
    if text:find("^%d+$") then return math.tointeger(text) end
    local y, m, d, rest = text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)(.-)Z?$")
    if not y then return nil end
    local h, i, s = rest:match("^[T ](%d%d):(%d%d):?(%d?%d?)$")
    if not h and rest ~= "" then return nil end
    y, m, d = math.tointeger(y), math.tointeger(m), math.tointeger(d)
    h, i, s = tonumber(h or 0), tonumber(i or 0), tonumber(s ~= "" and s or 0)
    if y < 1970 or m < 1 or m > 12 or d < 1 or d > MONTHS[m] or h > 23 or i > 59 or s > 59 then return nil end
    if m == 2 and d == 29 and (y % 4 ~= 0 or y % 100 == 0 and y % 400 ~= 0) then return nil end
    local year = m <= 2 and y - 1 or y -- days from civil (H. Hinnant), as src/policy/command_value.c
    local days = year * 365 + year // 4 - year // 100 + year // 400 + (153 * (m + (m > 2 and -3 or 9)) + 2) // 5 + d
    return math.tointeger((((days - 719469) * 24 + h) * 60 + i) * 60000 + s * 1000)
end

function verbs.rehearse(req, ctx)
    if not req.words[1] or #req.words > 1 then
        return refuse("policy rehearse takes one bundle or version; `usher policy rehearse PATH` reads it from files")
    elseif req.last and req.last < 1 then
        return refuse("--last: at least 1 request")
    end
    local since = req.since and moment(req.since)
    if req.since and not since then
        return refuse(("--since: '%s' is no time such as 2026-05-01T10:00, and no duration such as 15m, which is so "
            .. "long ago"):format(req.since))
    end
    local files, label, code, hint
    if version_of(req.words[1]) then
        files, label, code, hint = policy_of(version_of(req.words[1]))
    else
        files, label, code = files_of(req.words[1])
    end
    if not files then return nil, label, code, hint end
    local bundle = {}
    for _, name in ipairs(names_of(files, {})) do
        bundle[#bundle + 1] = name
        bundle[#bundle + 1] = files[name]
    end
    ctx:progress("recorded requests are judged by the candidate; serving goes on")
    local report, message, what, advice = node.rehearse { bundle = bundle, users = users(),
        last = req.last or (not since and 1000) or nil, since = since }
    if not report then return nil, message, what, advice end
    report.candidate = type(label) == "number" and label or nil
    report.active = node.policy().version
    return report, { columns = { "requests", "same", "refused_now", "granted_now", "other_seats", "other_price",
        "other_hold", "other_refusal", "policy_failed", "not_rebuilt", "nodes_missing" } }
end

function verbs.test()
    return refuse("specs are run where their files are: usher policy test PATH")
end

return command {
    name = "policy", kind = "node", group = "policy", access = "admin",
    summary = "The policy's life: look, compare, deploy, go back",
    example = "policy list",
    args = {
        { "verb", { "list", "show", "check", "test", "diff", "deploy", "rollback", "rehearse" }, meta = "VERB" },
        { "words", "string", many = true, optional = true, meta = "BUNDLE|VERSION",
            help = "a path for the program, JSON {file: text} over RESP" },
    },
    options = {
        { "expect", "int", meta = "N", help = "deploy, rollback: only over version N" },
        { "author", "string", meta = "WHO", help = "for the record, where users have no names" },
        { "no-test", "bool", help = "deploy PATH: without running the specs" },
        { "only", "string", meta = "FILE", help = "show: this file alone" },
        { "last", "int", meta = "N", help = "rehearse: the last N requests (1000)" },
        { "since", "string", meta = "T", help = "rehearse: requests from then on; 15m: of the last 15 minutes" },
    },
    run = function(ctx, req)
        req.words = req.words or {}
        return verbs[req.verb](req, ctx)
    end,
}
