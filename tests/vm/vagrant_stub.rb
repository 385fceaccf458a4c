# Evaluates a Vagrantfile without Vagrant and prints what it asks for, one line a thing. It knows the words that ours
# uses; any other one is an error.
#
#   ruby vagrant_stub.rb Vagrantfile

class Provider
  attr_accessor :memory, :cpus
end

class Machine
  def initialize(name)
    @name = name
  end

  def say(*words) = puts([@name, *words].join(" "))

  def hostname=(name)
    say("hostname", name)
  end

  def box=(name)
    say("box", name)
  end

  def network(kind, ip:)
    say("network", kind, ip)
  end

  def synced_folder(from, to, type:, rsync__exclude:)
    say("folder", from, to, type, "without", *rsync__exclude)
  end

  def provider(name)
    settings = Provider.new
    yield settings
    say("provider", name, settings.memory, settings.cpus)
  end

  def provision(name, type:, path:, args:, reboot: false)
    abort "no script #{path}" unless File.executable?(File.join(File.dirname(ARGV[0]), path))
    say("provision", name, type, path, *args, *("reboot" if reboot))
  end

  def define(name)
    yield Config.new(name)
  end
end

class Config
  attr_reader :vm

  def initialize(name)
    @vm = Machine.new(name)
  end
end

module Vagrant
  def self.configure(version)
    abort "configuration version #{version}" unless version == "2"
    yield Config.new("all")
  end
end

load ARGV[0]
