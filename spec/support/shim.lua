--- Clusters whose disks fail and whose links are cut on request: every node runs with a preloaded
--- library (tests/shim) that reads its faults from a file of that node's.
local cluster = require "spec.support.cluster"
local uv = require "luv"

local M = {}

local function library()
    local program = assert(uv.fs_realpath(cluster.usher))
    return program:gsub("[^/]*$", "libusher_faults.so")
end

--- As cluster.new(); the cluster gets a method faults(i, text): what node i's disk does from now on
--- ("" or nil: it is well). docs: tests/shim/faults.c.
function M.new(options)
    options = options or {}
    local path = library()
    assert(uv.fs_stat(path), path .. " is not built (ninja usher_faults)")
    local base = cluster.directory()
    local function file(i) return ("%s/%s/faults-%d"):format(uv.cwd(), base, i) end
    options.env = function(i)
        return {
            LD_PRELOAD = path, USHER_FAULTS = file(i),
            -- The sanitizer's library is not the first one then, which is as it must be.
            ASAN_OPTIONS = "verify_asan_link_order=0:" .. (os.getenv("ASAN_OPTIONS") or ""),
        }
    end
    local c = cluster.new(options)
    c.shim_dir = base
    function c.faults(_, i, text)
        -- Renamed into place: a node never reads half a line.
        cluster.write(file(i) .. ".new", text or "")
        assert(os.rename(file(i) .. ".new", file(i)))
    end
    --- From now on what node i sends to the nodes `to` (none: heals) is lost; it still hears them.
    function c.cut(_, i, to)
        local lines = {}
        for k, other in ipairs(to or {}) do lines[k] = ("send DROP :%d:\n"):format(c.nodes[other].port) end
        c:faults(i, table.concat(lines))
    end
    return c
end

function M.close(c)
    c:close()
    os.execute("rm -rf '" .. c.shim_dir .. "'")
end

return M
