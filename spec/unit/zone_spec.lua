local zone = require "usher.zone"

local function file(name)
    local f = io.open("/usr/share/zoneinfo/" .. name, "rb")
    if not f then return nil end
    local bytes = f:read("a")
    f:close()
    return zone.read(bytes)
end

--- A zone of two offsets with one change, and a rule for what comes after it.
local function made(footer)
    local function header(times, types)
        return "TZif2" .. ("\0"):rep(15) .. (">I4I4I4I4I4I4"):pack(0, 0, 0, times, types, 4)
    end
    local types = (">i4BB"):pack(7200, 0, 0) .. (">i4BB"):pack(3600, 0, 0)
    local body = (">i8"):pack(1000000000) .. "\1" .. types .. "AB\0\0"
    return header(0, 1) .. (">i4BB"):pack(7200, 0, 0) .. "AB\0\0" .. header(1, 2) .. body .. "\n" .. footer .. "\n"
end

describe("time zones", function()
    it("read dates and times, and nothing else", function()
        assert.equal(0, zone.parse "1970-01-01 00:00")
        assert.equal(1777629600, zone.parse "2026-05-01 10:00")
        assert.equal(1777629630, zone.parse "2026-05-01T10:00:30")
        assert.equal(1777593600, zone.parse "2026-05-01")
        assert.equal(951782400, zone.parse "2000-02-29")
        for _, text in ipairs { "", "2026", "2026-13-01", "2026-02-29", "2026-05-01 24:00", "2026-05-01 10:60", "1-2-3",
            "2026-05-01 10", "2026-05-01 10:00 x", "2026-00-10", "2026-05-00" } do
            assert.is_nil(zone.parse(text), text)
        end
    end)

    it("find the offset before, after and at a change", function()
        local z = zone.read(made(""))
        assert.equal(7200, zone.offset(z, 999999999))
        assert.equal(3600, zone.offset(z, 1000000000))
        assert.equal(3600, zone.offset(z, 4000000000))
    end)

    it("follow the rule behind the last change, on both halves of the earth", function()
        local z = zone.read(made "CET-1CEST,M3.5.0,M10.5.0/3")
        assert.equal(3600, zone.offset(z, zone.parse "2050-03-27 00:59")) -- the last Sunday of March 2050
        assert.equal(7200, zone.offset(z, zone.parse "2050-03-27 01:00"))
        assert.equal(7200, zone.offset(z, zone.parse "2050-10-30 00:59"))
        assert.equal(3600, zone.offset(z, zone.parse "2050-10-30 01:00"))
        z = zone.read(made "<+10>-10<+11>,M10.1.0,M4.1.0/3")
        assert.equal(39600, zone.offset(z, zone.parse "2050-01-10"))
        assert.equal(36000, zone.offset(z, zone.parse "2050-07-10"))
    end)

    it("give no time that the clocks leap over, and the first of two", function()
        local z = zone.read(made "CET-1CEST,M3.5.0,M10.5.0/3")
        assert.is_nil(zone.utc(z, zone.parse "2050-03-27 02:30"))
        assert.equal(zone.parse "2050-10-30 00:30", zone.utc(z, zone.parse "2050-10-30 02:30"))
        assert.equal(zone.parse "2050-07-01 10:00", zone.utc(z, zone.parse "2050-07-01 12:00"))
    end)

    it("agree with this machine's own `date` for real zones", function()
        local tried = 0
        for _, name in ipairs { "Europe/Helsinki", "America/New_York", "Australia/Sydney", "Asia/Kolkata",
            "Africa/Cairo" } do
            local z = file(name)
            for _, text in ipairs { "1985-07-01 12:00", "2026-01-15 23:59", "2026-05-01 10:00", "2036-11-30 00:00",
                "2071-06-15 12:00" } do
                if z then
                    local pipe = assert(io.popen(("TZ=%s date -d '%s' +%%s 2>/dev/null"):format(name, text)))
                    local seconds = tonumber(pipe:read("a"))
                    pipe:close()
                    assert.equal(seconds, zone.utc(z, zone.parse(text)), name .. " " .. text)
                    tried = tried + 1
                end
            end
        end
        if not io.open("/usr/share/zoneinfo/Europe/Helsinki") then return end
        assert.equal(25, tried)
    end)
end)
