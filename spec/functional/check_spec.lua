-- `usher check`, and a node's start, on good and damaged data directories.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local resp = require "spec.support.resp"
local json = require "cjson"

local ADDRESS, PORT = "localhost:24817", 24817 -- what the kept directory's identity says
local LOG, SNAPSHOT = "log-0000000000000001", "snapshot-0000000000000008-0000000000000002"

--- A copy of the data directory that was written by the first release and is kept with the source.
local function copy()
    local dir = cluster.directory()
    os.execute(("cp -r spec/data/directory-v1 '%s/node'"):format(dir))
    cluster.write(dir .. "/config.lua", ("return { default = { %q } }\n"):format(ADDRESS))
    return dir .. "/node", dir
end

local function check(path, ...)
    return process.run({ cluster.usher, "check", path, ... }, { seconds = 60 })
end

local running
local function start(path, dir)
    running = process.start({ cluster.usher, "node", "--id", "0", "--file", dir .. "/config.lua", "--data", path,
        "--no-console" }, { out = dir .. "/node.log" })
    return running
end

local read = require("spec.support.files").read

--- Flips one bit of the byte at `offset`.
local function flip(path, offset)
    local bytes = read(path)
    local byte = bytes:byte(offset + 1) ~ 0x10
    cluster.write(path, bytes:sub(1, offset) .. string.char(byte) .. bytes:sub(offset + 2))
end

local function sums(path)
    local pipe = assert(io.popen(("cd '%s' && ls -a && md5sum -- *"):format(path)))
    local text = pipe:read("a")
    pipe:close()
    return text
end

describe("usher check", function()
    after_each(function()
        if running and not running:ended() then
            running:kill()
            running:wait(10)
        end
        running = nil
    end)

    it("reads the data directory of today for ever, with everything in it, and changes nothing", function()
        local path = copy()
        local before = sums(path)
        local status, out, err = check(path, "-w", "json")
        assert.equal("", err)
        assert.equal(0, status)
        local found = json.decode(out)
        assert.equal("good", found.result)
        assert.equal("fb53987221d615d1", found.node)
        assert.equal("c82a4ac335c42534", found.cluster)
        assert.same({ { node = "fb53987221d615d1", address = ADDRESS, role = "voter" } }, found.members)
        assert.equal("6adfb216639f31bd", found.digest)
        assert.same({ 1, 10, 10 }, { found.first_index, found.last_index, found.index })
        assert.same({ { index = 8, term = 2, bytes = 568, whole = true } }, found.snapshots)
        assert.same({ 20, 3, 1, 3 }, { found.seats, found.orders_live, found.orders_ended, found.results })
        assert.equal(before, sums(path))
    end)

    it("lets a node of today start on it and serve what was booked", function()
        local path, dir = copy()
        local node = start(path, dir)
        local client
        local ok, why = pcall(process.wait_for, "the node serves", 90, function()
            client = resp.connect(PORT)
            local seats = client and client:json("seats", "1", "--linearizable")
            return seats and seats.taken.A5 == "booked" and seats.taken.B1 == "booked" and
                seats.taken.A10 == "blocked" and seats.taken.A1 == nil -- a hold that has run out
        end)
        assert.is_true(ok, tostring(why) .. node:output())
        -- The same request id gives the answer of then.
        local order = client:json("book", "1", "bob", "B1", "B2", "B3", "--request", "r2")
        assert.equal("booked", order and order.status)
        client:close()
        node:terminate()
        assert.equal(0, node:wait(60))
        assert.equal(0, (check(path)))
    end)

    it("refuses the directory of a running node, and what is none", function()
        local path, dir = copy()
        local node = start(path, dir)
        process.wait_for("the node serves", 90, function() return node:output():find("serves on", 1, true) end)
        local status, out, err = check(path)
        assert.equal(1, status)
        assert.equal("", out)
        assert.matches("^CONFLICT the data directory .* is in use by a running node; stop that node", err)
        node:kill()
        node:wait(10)
        status, out, err = check(dir)
        assert.equal(1, status)
        assert.equal("", out)
        assert.matches("^NOTFOUND .* is not the data directory of a node; give the directory", err)
        assert.equal(2, (process.run { cluster.usher, "check" }))
        assert.equal(2, (process.run { cluster.usher, "check", path, "more" }))
    end)

    it("takes a torn tail for what it is", function()
        local path = copy()
        local bytes = read(path .. "/" .. LOG)
        -- Half a record behind the last one, as a power cut leaves it; the mark is behind it.
        local last = #bytes:gsub("%z+$", "")
        last = last + (8 - last % 8) % 8
        cluster.write(path .. "/" .. LOG, bytes:sub(1, last) .. ("\1"):rep(100) .. bytes:sub(last + 101))
        local status, out = check(path, "-w", "json")
        assert.equal(0, status)
        assert.equal(100, json.decode(out).torn_bytes)
        assert.equal(10, json.decode(out).last_index)
    end)

    -- One bit in each kind of file: {file, offset, what is said}. A vote or a mark has a second copy.
    for _, case in ipairs {
        { "identity", 20, "identity at offset 0: the identity is damaged" },
        { "identity", 8, "identity at offset 8: its format version is not known here" },
        { LOG, 70, LOG .. " at offset 64: a record is damaged that was durable" },
        { LOG, 40, LOG .. " at offset 0: a record is damaged that was durable" },
        { LOG, 1400, LOG .. " at offset %d+: a? ?[%a ,]*was durable" }, -- the last record: the mark knows it
        { SNAPSHOT, 20, SNAPSHOT .. " at offset 0: the snapshot's header is damaged" },
        { SNAPSHOT, 70, SNAPSHOT .. " at offset 64: the snapshot's configuration is damaged" },
        { SNAPSHOT, 400, SNAPSHOT .. " at offset %d+: a block of the snapshot is damaged" },
        { SNAPSHOT, 725, SNAPSHOT .. " at offset 698: the snapshot's end is damaged" },
    } do
        it(("finds a flipped bit in %s at %d, and no node votes with it"):format(case[1], case[2]), function()
            local path, dir = copy()
            local pattern = case[3]:gsub("%-", "%%-")
            flip(path .. "/" .. case[1], case[2])
            local status, out, err = check(path)
            assert.equal(1, status, out)
            assert.matches(pattern, err)
            assert.matches("result +damaged", out)
            assert.matches("; .*rebuild", err)
            local node = start(path, dir)
            assert.equal(1, node:wait(60), node:output())
            assert.matches(pattern, node:output())
            assert.matches("; .*rebuild", node:output())
        end)
    end

    for _, name in ipairs { "vote-0", "vote-1", "mark" } do
        it(("goes on from the second copy when %s has a flipped bit"):format(name), function()
            local path, dir = copy()
            -- The newer of the mark's two slots is the one in its second sector or its first; either will do.
            flip(path .. "/" .. name, 40)
            local status, out = check(path, "-w", "json")
            assert.equal(0, status, out)
            assert.equal(name == "mark" and 2 or 1, json.decode(out).vote_copies)
            local node = start(path, dir)
            process.wait_for("the node serves", 90, function()
                local client = resp.connect(PORT)
                return client and client:json("events", "--linearizable")
            end)
            node:terminate()
            assert.equal(0, node:wait(60))
            status, out = check(path, "-w", "json")
            assert.equal(0, status, out)
            assert.equal(2, json.decode(out).vote_copies)
        end)
    end

    it("refuses when both copies of the vote, or of the mark, are damaged", function()
        for _, case in ipairs { { "vote-0", 40, "vote-1", 40, "both damaged" },
            { "mark", 40, "mark", 552, "both slots of the durable mark are damaged" } } do
            local path, dir = copy()
            flip(path .. "/" .. case[1], case[2])
            flip(path .. "/" .. case[3], case[4])
            local status, _, err = check(path)
            assert.equal(1, status)
            assert.matches(case[5], err)
            local node = start(path, dir)
            assert.equal(1, node:wait(60))
            assert.matches(case[5], node:output())
        end
    end)

    it("refuses a directory that lacks a file, naming it", function()
        for _, name in ipairs { "identity", "vote-0", "mark", LOG } do
            local path, dir = copy()
            assert(os.remove(path .. "/" .. name))
            local status, _, err = check(path)
            assert.equal(1, status, name)
            assert.matches(name:gsub("%-", "%%-"), err)
            assert.matches("missing", err)
            local node = start(path, dir)
            assert.equal(1, node:wait(60), node:output())
            assert.matches("missing", node:output())
        end
    end)

    it("names files that are not a node's, and no others", function()
        local path = copy()
        for _, name in ipairs { "refused", "refused.1", "hooks", "letter" } do
            cluster.write(path .. "/" .. name, "something")
        end
        os.execute(("mkdir '%s/files' '%s/backups'"):format(path, path))
        local status, out = check(path, "-w", "json")
        assert.equal(0, status, out)
        assert.same({ "letter" }, json.decode(out).other_files)
    end)

    it("refuses a snapshot that calls itself by another's name", function()
        local path = copy()
        assert(os.rename(path .. "/" .. SNAPSHOT, path .. "/snapshot-0000000000000007-0000000000000002"))
        local status, _, err = check(path)
        assert.equal(1, status)
        assert.matches("snapshot%-0000000000000007", err)
    end)
end)
