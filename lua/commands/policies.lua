--- The policies of the cluster, as data: what `policy deploy`, `rollback`, `list` and `show`
--- (lua/commands/node/policy.lua) carry out. They are compiled in and no bundle can replace
--- them: whatever is deployed, the way back stays open.
local KEPT = 16

--- { ["policy.lua"] = text, ... } from JSON, or from the text of a lone policy.lua.
local function files_of(source)
    if not source:find("^%s*{") then return { ["policy.lua"] = source } end
    local files, message = json.decode(source)
    if type(files) ~= "table" then deny { code = "BADARG", message = "source: " .. tostring(message) } end
    for name, text in pairs(files) do
        if type(name) ~= "string" or type(text) ~= "string" or not name:find("^[%w_%-][%w_%-/]*%.lua$") then
            deny { code = "BADARG", message = ("source: '%s' is no Lua file of a bundle"):format(tostring(name)),
                hint = "a bundle is {\"policy.lua\": \"text\", \"module.lua\": \"text\"}" }
        end
    end
    if not files["policy.lua"] then
        deny { code = "BADARG", message = "source: there is no policy.lua in the bundle" }
    end
    return files
end

local function newest(tx)
    local record = tx:policy_record()
    return record and record.version or 0, record
end

--- Compare and set: whoever decided by another version must look again.
local function expect(tx, req)
    local version, record = newest(tx)
    if req.expect and req.expect ~= version then
        deny { code = "CONFLICT",
            message = ("version %d was expected, but version %d of %s is there"):format(req.expect, version,
                record and record.author ~= "" and record.author or "nobody in particular"),
            hint = "`policy diff` shows how yours differs; deploy again if it still fits" }
    end
    return version
end

local function same(a, b)
    for name, text in pairs(a) do
        if b[name] ~= text then return false end
    end
    for name in pairs(b) do
        if a[name] == nil then return false end
    end
    return true
end

local function answer(tx, version, extra)
    local record = tx:policy_record(version)
    local out = { version = version, sha256 = record.sha256, author = record.author, time = record.time }
    for key, value in pairs(extra or {}) do out[key] = value end
    return out
end

local function put(tx, req, files, extra)
    local before = expect(tx, req)
    if before > 0 and same(files, tx:policy_files(before)) then
        return answer(tx, before, { already = true })
    end
    extra = extra or {}
    local version = tx:policy_put(files, req.author, extra.restored)
    extra.before = before
    return answer(tx, version, extra)
end

local function deploy(tx, req) return put(tx, req, files_of(req.source)) end

--- What a version brought back: a version's number, nil when it was deployed. Of versions from before
--- that was recorded: the newest one that had the same content.
local function source_of(tx, version)
    local record = version > 0 and tx:policy_record(version)
    if not record then return nil end
    if record.restored then return record.restored >= 0 and record.restored or nil end
    for v = version - 1, math.max(1, version - KEPT + 1), -1 do
        local old = tx:policy_record(v)
        if old and old.sha256 == record.sha256 then return v end
    end
end

--- The version that a rollback without a number means: what was active before the step that led to
--- the active content. A rollback's step is that of the version it brought back, so that the next
--- one goes further back. 0 is the default policy; nil: there is nothing before.
local function previous(tx, version)
    local source = version
    while source do version, source = source, source_of(tx, source) end
    return version > 0 and version - 1 or nil
end

-- What a rollback from `version` restores.
local function restored(tx, req, version)
    return req.version or version > 0 and tx:policy_record(version) and previous(tx, version) or nil
end

local function content(tx, version)
    if version == 0 then return { ["policy.lua"] = tx:policy_default()["policy.lua"] } end
    return tx:policy_record(version) and tx:policy_files(version) or nil
end

local function rollback(tx, req)
    local version = newest(tx)
    if version == 0 then
        deny { code = "NOTFOUND", message = "no policy was ever deployed here: the default one is active" }
    end
    local to = restored(tx, req, version)
    if not to then
        deny { code = "NOTFOUND", message = ("there is nothing before version %d"):format(version),
            hint = "`policy list` shows what is kept; `policy deploy` deploys a file" }
    end
    local files = content(tx, to)
    if not files then
        deny { code = "NOTFOUND", message = ("version %d is not kept"):format(to),
            hint = "`policy list` shows what is" }
    end
    return put(tx, req, files, { restored = to })
end

-- ---- A request that comes again ---------------------------------------------------
-- Others may have deployed since: what is answered is the version that has these files, the newest
-- of them unless --expect says which one it was; and no version when none is kept or could be meant.

local function version_with(tx, req, files)
    local last = newest(tx)
    local from, to = last, math.max(1, last - KEPT + 1)
    if req.expect then from, to = math.min(req.expect + 1, last), math.max(req.expect, to) end
    for version = from, to, -1 do
        local kept = content(tx, version)
        if kept and same(files, kept) then return version end
    end
end

local function answer_again(tx, req, files, extra)
    local version = files and version_with(tx, req, files)
    if not version then return { already = true } end
    return answer(tx, version, extra)
end

local function deploy_again(tx, req) return answer_again(tx, req, files_of(req.source)) end

local function rollback_again(tx, req)
    local to = req.version or req.expect and restored(tx, req, req.expect)
    return answer_again(tx, req, to and content(tx, to), { restored = to })
end

-- The same with what the history knows of it.
local function described(tx, version, extra)
    local record = tx:policy_record(version)
    extra.name = record.name
    extra.restored = record.restored and record.restored >= 0 and record.restored or nil
    return answer(tx, version, extra)
end

local function policies(tx, req)
    local last = newest(tx)
    if req.version == 0 then
        return { version = 0, author = "", files = tx:policy_default(), active = last == 0 }
    elseif req.version then
        local record = req.version > 0 and tx:policy_record(req.version)
        if not record then
            deny { code = "NOTFOUND", message = ("version %d is not kept"):format(req.version),
                hint = "`policy list` shows what is" }
        end
        return described(tx, req.version, { files = tx:policy_files(req.version), active = req.version == last })
    end
    local list = json.list {}
    for version = last, math.max(1, last - KEPT + 1), -1 do
        local record = tx:policy_record(version)
        if record then
            local names, bytes = json.list {}, 0
            for name, text in pairs(tx:policy_files(version)) do
                names[#names + 1] = name
                bytes = bytes + #text
            end
            list[#list + 1] = described(tx, version, { active = version == last, files = names, bytes = bytes })
        end
    end
    return list
end

local EXPECT = { "expect", "int", meta = "N", help = "refuse (CONFLICT) unless version N is the newest" }
local AUTHOR = { "author", "string", meta = "WHO", help = "for the record, where users have no names" }

return {
    command {
        name = "deploy-policy", group = "policy", kind = "transaction", access = "admin",
        summary = "Make a bundle the active policy; `policy deploy PATH` tests it first",
        example = "deploy-policy '{\"policy.lua\":\"return policy{}\"}' --expect 3",
        args = { { "source", "string", meta = "BUNDLE|TEXT",
            help = "{\"policy.lua\": text, ...}, or the text of a lone policy.lua" } },
        options = { EXPECT, AUTHOR },
        run = deploy,
        again = deploy_again,
    },
    command {
        name = "rollback-policy", group = "policy", kind = "transaction", access = "admin",
        summary = "Make an old policy active again, as a new version", example = "rollback-policy 3",
        args = { { "version", "int", optional = true, help = "default: the one before" } },
        options = { EXPECT, AUTHOR },
        run = rollback,
        again = rollback_again,
    },
    command {
        name = "policies", group = "policy", kind = "transaction", access = "admin", read = "linearizable",
        summary = "The kept versions of the policy, or one with its files", example = "policies 3",
        args = { { "version", "int", optional = true } },
        run = policies,
    },
}
