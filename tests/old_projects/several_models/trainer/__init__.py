from .domain_trainer import *
