-- Generates the requests of engines. wrk runs this script in each of its threads; its arguments, after `--`, are the
-- kind of traffic, a seed, and the parameters of the kind.

local START = [[{"engine": "vagrant_orchestrate", "engine_version": "0.6.3", "host": "ci.example.com", ]]
  .. [["user": "cbaldauf", "environment": "dev", "package": "test", "package_url": "http://mypackage.mydomain.com", ]]
  .. [["version": "4.5.6", "arguments": "--strategy parallel"}]]
local FINISH = [[{"result": "success", "elapsed_seconds": 234}]]
local SERVERS = { "web01.example.com", "web02.example.com" }

local threads = 0
function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

-- Random, like the ids of engines: ascending ids would be cheaper to index.
local function uuid()
  local random = math.random
  return string.format("%08x-%04x-4%03x-%04x-%012x", random(0, 2^32 - 1), random(0, 2^16 - 1), random(0, 2^12 - 1),
    random(2^15, 2^15 + 2^14 - 1), random(0, 2^48 - 1))
end

local function get(path) return wrk.format("GET", path) end
local function post(path, body) return wrk.format("POST", path, nil, body) end
local function put(path, body) return wrk.format("PUT", path, nil, body) end
local function at(id) return "/v1/deployments/" .. id end
local function start() return post(at(uuid()), START) end
local function batch(message, count) return "[" .. string.rep(message, count, ",") .. "]" end

local function each_in_turn(requests)
  local turn = 0
  return function()
    turn = turn % #requests + 1
    return requests[turn]
  end
end

-- Ids of deployments whose start was answered and that wait for their next request. Without the answer, a finish on
-- another connection could overtake its start.
local function answered_starts()
  local ids = {}
  function response(_, headers)
    local id = (headers.location or ""):match("^/v1/deployments/(.+)$")
    if id then ids[#ids + 1] = id end
  end
  return ids
end

local kinds = {}

function kinds.starts() return start end

function kinds.starts_and_finishes()
  local ids = answered_starts()
  return function()
    local id = table.remove(ids)
    return id and put(at(id), FINISH) or start()
  end
end

function kinds.logs(message, count)
  local requests, body = {}, batch(message, count)
  for i = 1, 64 do requests[i] = post(at(uuid()) .. "/logs", body) end
  return each_in_turn(requests)
end

function kinds.gets(file)
  local requests = {}
  for path in io.lines(file) do requests[#requests + 1] = get(path) end
  return each_in_turn(requests)
end

function kinds.mixed(message)
  local logs, ids, lives, step, id = batch(message, 5), answered_starts(), 0, 0, nil
  local function log() return post(at(id) .. "/logs", logs) end
  local function server(method, host, more)
    return function() return method(at(id) .. "/servers", [[{"hostname": "]] .. SERVERS[host] .. [["]] .. more .. "}") end
  end
  local address, result = [[, "ip_address": "10.0.0.1"]], [[, "result": "success", "elapsed_seconds": 120]]
  local life = {
    start, log, server(post, 1, address), server(post, 2, address), log, log, server(put, 1, result),
    server(put, 2, result), log, function() return put(at(id), FINISH) end, function() return get(at(id)) end,
    function() return lives % 10 == 0 and get("/v1/deployments") or log() end,
  }
  return function()
    if step == 0 then id = table.remove(ids) end
    if not id then return start() end
    step = step % #life + 1
    local request = life[step]()
    if step == #life then step, lives = 0, lives + 1 end
    return request
  end
end

function init(args)
  math.randomseed(tonumber(args[2]) + number)
  wrk.headers["Content-Type"] = "application/json"
  request = kinds[args[1]](unpack(args, 3))
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"micros":%d,"requests":%d,"p50":%d,"p99":%d,"p999":%d,"refused":%d,"broken":%d}\n',
    summary.duration, summary.requests, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
